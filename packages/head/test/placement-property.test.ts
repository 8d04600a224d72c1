import type { DeviceGrant, Strategy } from "@whipray/rpc";
import fc from "fast-check";
import { expect, test } from "vitest";
import { explain } from "../src/placement/explain.ts";
import { place } from "../src/placement/place.ts";
import type { Placement, PlaceRequest } from "../src/placement/request.ts";
import { type NodeRoom, Room } from "../src/placement/room.ts";
import { node, request } from "./rooms.ts";

const shares = fc.constantFrom(0, 0.2, 0.3, 0.5, 0.7, 1);
const nodes = (most: number) =>
  fc
    .array(fc.record({ CPU: fc.integer({ min: 0, max: 4 }), gpus: fc.array(shares, { maxLength: 3 }) }), {
      maxLength: most,
    })
    .map((list) => list.map(({ CPU, gpus }, at) => node(`n${at}`, { CPU }, gpus)));
const bundle = fc
  .record({ CPU: fc.integer({ min: 0, max: 3 }), GPU: fc.constantFrom(0, 0.2, 0.3, 0.5, 0.7, 1, 2) })
  .filter(({ CPU, GPU }) => CPU + GPU > 0)
  .map((amounts) => Object.fromEntries(Object.entries(amounts).filter(([, value]) => value > 0)));
const strategies = fc.constantFrom<Strategy[]>("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD");
const requests = (most: number) =>
  fc
    .tuple(strategies, fc.array(bundle, { minLength: 1, maxLength: most }))
    .map(([strategy, bundles]) => request(strategy, bundles));

/** Books the placement again from nothing and fails on anything that is not there. */
function replay(wanted: PlaceRequest, rooms: readonly NodeRoom[], placement: Placement): void {
  const free = new Map(rooms.map((room) => [room.nodeId, new Room(room)]));
  expect(placement.map((one) => one.index)).toEqual(wanted.bundles.map((one) => one.index));
  for (const { index, nodeId, devices } of placement) {
    const asked = wanted.bundles[index]!.units;
    const room = free.get(nodeId)!;
    const got: Record<string, number> = {};
    for (const grant of devices) got[grant.resource] = (got[grant.resource] ?? 0) + grant.units;
    expect(got["GPU"] ?? 0).toBe(asked["GPU"] ?? 0);
    if ((asked["GPU"] ?? 0) < 10_000) expect(devices.length).toBeLessThanOrEqual(1);
    else expect(devices.every((grant: DeviceGrant) => grant.units === 10_000)).toBe(true);
    room.grant(asked, devices);
    expect(room.snapshot().devices.every((device) => device.units >= 0)).toBe(true);
    expect(Object.values(room.free).every((left) => left >= 0)).toBe(true);
  }
  const used = placement.map((one) => one.nodeId);
  if (wanted.strategy === "STRICT_PACK") expect(new Set(used).size).toBe(1);
  if (wanted.strategy === "STRICT_SPREAD") expect(new Set(used).size).toBe(used.length);
}

/** Plain exhaustive answer to "is there any?", written without the code under test's order, pruning or bounds. */
function possible(wanted: PlaceRequest, rooms: readonly NodeRoom[]): boolean {
  const free = rooms.map((room) => ({
    CPU: room.free["CPU"] ?? 0,
    gpus: room.devices.map((device) => device.units),
    used: false,
  }));
  const at = (index: number, only?: number): boolean => {
    const asked = wanted.bundles[index];
    if (!asked) return true;
    const CPU = asked.units["CPU"] ?? 0;
    const GPU = asked.units["GPU"] ?? 0;
    return free.some((room, place) => {
      if (only !== undefined && place !== only) return false;
      if (wanted.strategy === "STRICT_SPREAD" && room.used) return false;
      if (room.CPU < CPU) return false;
      const saved = { ...room, gpus: [...room.gpus] };
      const choices: number[][] =
        GPU === 0
          ? [room.gpus]
          : GPU >= 10_000
            ? wholes(room.gpus, GPU / 10_000)
            : room.gpus.flatMap((units, i) => (units >= GPU ? [room.gpus.map((u, j) => (i === j ? u - GPU : u))] : []));
      return choices.some((gpus) => {
        Object.assign(room, { CPU: saved.CPU - CPU, gpus, used: true });
        const fits = at(index + 1, wanted.strategy === "STRICT_PACK" ? place : undefined);
        Object.assign(room, saved);
        return fits;
      });
    });
  };
  return at(0);
}

function wholes(gpus: number[], count: number): number[][] {
  const whole = gpus.flatMap((units, index) => (units === 10_000 ? [index] : []));
  if (whole.length < count) return [];
  const taken = new Set(whole.slice(0, count));
  return [gpus.map((units, index) => (taken.has(index) ? 0 : units))];
}

test("a placement never takes what is not there, and STRICT strategies hold", () => {
  fc.assert(
    fc.property(nodes(6), requests(8), (rooms, wanted) => {
      const placement = place(wanted, rooms);
      if (placement) replay(wanted, rooms, placement);
    }),
    { numRuns: 600, seed: 1 },
  );
});

test("a small placement is found if and only if there is one", () => {
  fc.assert(
    fc.property(nodes(3), requests(4), (rooms, wanted) => {
      expect(place(wanted, rooms) !== undefined).toBe(possible(wanted, rooms));
    }),
    { numRuns: 1_000, seed: 1 },
  );
});

test("PACK uses one node when one node can hold all", () => {
  fc.assert(
    fc.property(nodes(4), requests(4), (rooms, wanted) => {
      if (!possible({ ...wanted, strategy: "STRICT_PACK" }, rooms)) return;
      expect(new Set(place({ ...wanted, strategy: "PACK" }, rooms)?.map((one) => one.nodeId)).size).toBe(1);
    }),
    { numRuns: 500, seed: 1 },
  );
});

test("SPREAD uses a node for each bundle when that can be", () => {
  fc.assert(
    fc.property(nodes(4), requests(4), (rooms, wanted) => {
      if (!possible({ ...wanted, strategy: "STRICT_SPREAD" }, rooms)) return;
      const used = place({ ...wanted, strategy: "SPREAD" }, rooms)?.map((one) => one.nodeId);
      expect(new Set(used).size).toBe(wanted.bundles.length);
    }),
    { numRuns: 500, seed: 1 },
  );
});

test("there is a reason if and only if there is no placement, and infeasible means that an empty cluster cannot either", () => {
  fc.assert(
    fc.property(nodes(4), requests(5), (rooms, wanted) => {
      const total = rooms.map((room) => ({
        ...room,
        devices: room.devices.map((device) => ({ ...device, units: 10_000 })),
      }));
      const reasons = explain(wanted, rooms, total);
      expect(reasons.length === 0).toBe(place(wanted, rooms) !== undefined);
      for (const reason of reasons) expect(reason.text).not.toBe("");
      if (place(wanted, total)) expect(reasons.every((reason) => reason.kind === "busy")).toBe(true);
      else if (reasons.length > 0) expect(reasons.every((reason) => reason.kind !== "busy")).toBe(true);
    }),
    { numRuns: 500, seed: 1 },
  );
});

test("the same input gives the same answer", () => {
  fc.assert(
    fc.property(nodes(4), requests(5), (rooms, wanted) => {
      expect(place(wanted, rooms)).toEqual(place(wanted, rooms));
    }),
    { numRuns: 100, seed: 1 },
  );
});

interface LinkedNode {
  readonly domains: readonly ("a" | "b" | "c")[];
  readonly gpus: readonly number[];
}

const linkedNodes = fc.array(
  fc
    .array(
      fc.record({ domain: fc.constantFrom("a" as const, "b" as const, "c" as const), share: fc.constantFrom(0.5, 1) }),
      {
        minLength: 1,
        maxLength: 6,
      },
    )
    .map((devices): LinkedNode => {
      return { domains: devices.map(({ domain }) => domain), gpus: devices.map(({ share }) => share) };
    }),
  { minLength: 1, maxLength: 2 },
);
const linkedBundles = fc.array(
  fc.record({ GPU: fc.constantFrom(0.5, 1, 2, 3), links: fc.constantFrom("STRICT" as const, "ANY" as const) }),
  { minLength: 1, maxLength: 4 },
);

/** Exhaustive: every set of devices for every bundle. */
function possibleLinked(
  list: readonly { GPU: number; links: "STRICT" | "ANY" }[],
  nodesOf: readonly LinkedNode[],
): boolean {
  const [first, ...rest] = list;
  if (!first) return true;
  return nodesOf.some((one, at) =>
    setsFor(first, one).some((set) => {
      const gpus = one.gpus.map((share, index) => (set.includes(index) ? share - Math.min(1, first.GPU) : share));
      return possibleLinked(rest, nodesOf.with(at, { ...one, gpus }));
    }),
  );
}

function setsFor({ GPU, links }: { GPU: number; links: "STRICT" | "ANY" }, { gpus, domains }: LinkedNode): number[][] {
  const able = gpus.flatMap((share, index) => (share >= Math.min(1, GPU) ? [index] : []));
  if (GPU < 1) return able.map((index) => [index]);
  const sets = (from: readonly number[], count: number): number[][] => {
    if (count === 0) return [[]];
    return from.flatMap((index, place) => sets(from.slice(place + 1), count - 1).map((more) => [index, ...more]));
  };
  const all = sets(able, GPU);
  return links === "ANY" ? all : all.filter((set) => new Set(set.map((index) => domains[index])).size <= 1);
}

test("with partly used devices, and bundles that want one link domain, a small placement is found if and only if there is one", () => {
  fc.assert(
    fc.property(linkedNodes, linkedBundles, (list, bundles) => {
      const rooms = list.map(({ domains, gpus }, at) => {
        return node(`n${at}`, { CPU: 1 }, [...gpus], { linkDomain: (index) => domains[index]! });
      });
      const wanted = request(
        "PACK",
        bundles.map(({ GPU }) => ({ GPU })),
      );
      const asked = { ...wanted, bundles: wanted.bundles.map((one, at) => ({ ...one, links: bundles[at]!.links })) };
      const placement = place(asked, rooms);
      expect(placement !== undefined).toBe(possibleLinked(bundles, list));
      for (const { index, devices, nodeId } of placement ?? []) {
        const { topology } = rooms.find((room) => room.nodeId === nodeId)!;
        const domains = new Set(devices.map(({ uuid }) => topology!.device(uuid)?.linkDomain));
        if (bundles[index]!.links === "STRICT") expect(domains.size).toBe(1);
      }
    }),
    {
      numRuns: 1_000,
      seed: 1,
      examples: [
        [
          [{ domains: ["a", "a", "a", "a", "c"], gpus: [1, 1, 1, 0.5, 1] }],
          [
            { GPU: 2, links: "ANY" },
            { GPU: 2, links: "STRICT" },
            { GPU: 0.5, links: "STRICT" },
          ],
        ],
      ],
    },
  );
});
