import type { Strategy } from "@whipray/rpc";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { placeActor } from "../src/placement/actor-policy.ts";
import { explain, whyNot } from "../src/placement/explain.ts";
import { place } from "../src/placement/place.ts";
import { without } from "../src/placement/reserve.ts";
import type { NodeRoom } from "../src/placement/room.ts";
import { RoomIndex, SIGHTS_LIMIT } from "../src/placement/room-index.ts";
import { node, request } from "./rooms.ts";

const share = fc.constantFrom(0, 0.3, 0.5, 1);
const labels = fc.constantFrom<Record<string, string>>({}, { zone: "a" }, { zone: "b", host: "x" });
const amounts = fc.record({
  CPU: fc.integer({ min: 0, max: 3 }),
  memory: fc.integer({ min: 0, max: 2 }),
  gpus: fc.array(share, { maxLength: 2 }),
  labels,
  linked: fc.boolean(),
});
type Amounts = typeof amounts extends fc.Arbitrary<infer T> ? T : never;
const roomOf = (nodeId: string, { CPU, memory, gpus, labels, linked }: Amounts): NodeRoom =>
  node(nodeId, { CPU, memory }, gpus, { labels, ...(linked && { linkDomain: () => "nv" }) });

const bundle = fc
  .record({ CPU: fc.integer({ min: 0, max: 2 }), GPU: fc.constantFrom(0, 0.3, 0.5, 1, 2) })
  .filter(({ CPU, GPU }) => CPU + GPU > 0)
  .map((all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value > 0)));
const strategy = fc.constantFrom<Strategy[]>("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD");
const selector = fc.constantFrom<(Record<string, string> | undefined)[]>(undefined, { zone: "a" }, { zone: "!b" });

/** What happens to a cluster of up to 12 nodes: a node gets this room, or is gone. */
const changes = fc.array(fc.tuple(fc.integer({ min: 0, max: 11 }), fc.option(amounts, { nil: undefined, freq: 5 })), {
  minLength: 4,
  maxLength: 40,
});

/** Takes every change into the index, with a look in between, and answers with the rooms as they are, in order. */
function grow(index: RoomIndex, list: readonly (readonly [number, Amounts | undefined])[]): NodeRoom[] {
  const rooms = new Map<number, NodeRoom>();
  list.forEach(([at, value], turn) => {
    if (value === undefined) {
      index.delete(`n${at}`);
      rooms.delete(at);
    } else {
      const room = roomOf(`n${at}`, value);
      rooms.set(at, room);
      index.set(room, roomOf(`n${at}`, { ...value, CPU: 3 }), at);
    }
    if (turn % 3 === 0) index.few(request("PACK", [{ CPU: 1 }]));
  });
  return [...rooms].sort(([a], [b]) => a - b).map(([, room]) => room);
}

describe("a few rooms", () => {
  test("give groups the same places as all do, whatever changed before", () => {
    const kept = fc.uniqueArray(fc.integer({ min: 0, max: 11 }), { maxLength: 2 });
    const asked = fc.tuple(strategy, fc.array(bundle, { minLength: 1, maxLength: 5 }), kept, selector);
    fc.assert(
      fc.property(changes, asked, (list, [strategy, bundles, keptAt, labels]) => {
        const index = new RoomIndex();
        const rooms = grow(index, list);
        const more = { kept: keptAt.map((at) => `n${at}`), ...(labels && { labels }) };
        const wanted = request(strategy, bundles, more);
        expect(index.all()).toEqual(rooms);
        expect(place(wanted, index.few(wanted))).toEqual(place(wanted, rooms));
      }),
      { numRuns: 800, seed: 1 },
    );
  });

  test("give actors the same places as all do", () => {
    const away = fc.uniqueArray(fc.integer({ min: 0, max: 11 }), { maxLength: 3 });
    const asked = fc.tuple(bundle, selector, away, fc.option(fc.integer({ min: 0, max: 11 }), { nil: undefined }));
    fc.assert(
      fc.property(changes, asked, (list, [amounts, labels, avoided, near]) => {
        const index = new RoomIndex();
        const rooms = grow(index, list);
        const [wanted] = request("PACK", [amounts], labels && { labels }).bundles;
        const avoid = new Set(avoided.map((at) => `n${at}`));
        const nodeId = near === undefined ? undefined : `n${near}`;
        const actor = { ...wanted!, avoid, nodeId, nodeSoft: true };
        const few = index.few({ bundles: [wanted!], keptNodeIds: [...avoid, ...(nodeId ? [nodeId] : [])] }, true);
        const totalOf = (id: string) => {
          const { labels, devices, free } = rooms.find((room) => room.nodeId === id)!;
          return { nodeId: id, labels, devices, free: { ...free, CPU: 30_000 } };
        };
        expect(placeActor(actor, few, totalOf)?.nodeId).toEqual(placeActor(actor, rooms, totalOf)?.nodeId);
      }),
      { numRuns: 800, seed: 1 },
    );
  });

  test("say why there is no place as all do", () => {
    const kept = fc.uniqueArray(fc.integer({ min: 0, max: 11 }), { maxLength: 2 });
    const asked = fc.tuple(strategy, fc.array(bundle, { minLength: 1, maxLength: 5 }), kept, selector);
    fc.assert(
      fc.property(changes, asked, (list, [strategy, bundles, keptAt, labels]) => {
        const [now, total] = [new RoomIndex(), new RoomIndex()];
        const rooms = grow(now, list);
        const totals = rooms.map(({ nodeId, labels, devices }) =>
          node(
            nodeId,
            { CPU: 3, memory: 2 },
            devices.map(() => 1),
            { labels },
          ),
        );
        for (const [at, room] of totals.entries()) total.set(room, room, at);
        const more = { kept: keptAt.map((at) => `n${at}`), ...(labels && { labels }) };
        const wanted = request(strategy, bundles, more);
        expect(whyNot(wanted, now, total)).toEqual(explain(wanted, rooms, totals));
      }),
      { numRuns: 800, seed: 1 },
    );
  });

  test("do not offer what is held for others", () => {
    const held = fc.array(fc.integer({ min: 0, max: 11 }), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(
        changes,
        held,
        strategy,
        fc.array(bundle, { minLength: 1, maxLength: 4 }),
        (list, at, how, bundles) => {
          const index = new RoomIndex();
          grow(index, list);
          const starving = request("PACK", Array(at.length).fill({ CPU: 2, GPU: 1 }));
          const reservation = new Map(at.map((place, bundle) => [bundle, `n${place}`]));
          const rooms = without(index, [{ request: starving, reservation }]);
          const wanted = request(how, bundles);
          expect(place(wanted, rooms.few(wanted))).toEqual(place(wanted, rooms.all()));
        },
      ),
      { numRuns: 500, seed: 1 },
    );
  });

  test("are few: as many of each kind as the request has bundles, none of those too full", () => {
    const index = new RoomIndex();
    for (let at = 0; at < 1_000; at++) {
      const full = at % 2 === 0;
      const room = node(`n${at}`, { CPU: full ? 0 : 8, memory: at }, [1, 1], { labels: { host: `h${at}` } });
      index.set(room, room, at);
    }
    const wanted = request("SPREAD", [{ CPU: 1 }, { CPU: 1 }, { CPU: 1 }]);
    expect(index.few(wanted).map((room) => room.nodeId)).toEqual(["n1", "n3", "n5"]);
    expect(index.few({ ...wanted, keptNodeIds: ["n7"] })).toHaveLength(4);
  });

  test("limits: SIGHTS_LIMIT sets of resources are remembered, and more are served", () => {
    const index = new RoomIndex();
    const room = node("n", { CPU: 1 });
    index.set(room, room, 1);
    for (let at = 0; at <= SIGHTS_LIMIT; at++) expect(index.few(request("PACK", [{ [`r${at}`]: 1 }]))).toEqual([]);
    expect(index.few(request("PACK", [{ CPU: 1 }]))).toEqual([room]);
  });
});
