import type { DeviceInfo } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { type LeaseAsk, Ledger } from "../src/ledger.ts";
import { REMEMBERED_GROUPS_LIMIT } from "../src/ledger-bundles.ts";

const WHOLE = 10_000;

function device(index: number, more: Partial<DeviceInfo> = {}): DeviceInfo {
  return { uuid: `gpu-${index}`, index, resource: "GPU", vendor: "fake", model: "fake", health: "ok", ...more };
}

function ledger(gpus = 2, cpus = 8): Ledger {
  const devices = Array.from({ length: gpus }, (_, index) => device(index));
  return new Ledger({ scalars: { CPU: cpus * WHOLE }, devices });
}

function ask(leaseId: string, units: Record<string, number>, more: Partial<LeaseAsk> = {}): LeaseAsk {
  return { leaseId, units, placementUnits: units, devices: [], bundleIndex: -1, ...more };
}

function take(book: Ledger, leaseId: string, gpu: number, more: Partial<LeaseAsk> = {}) {
  const answer = book.acquire(ask(leaseId, { GPU: gpu }, more));
  return answer.ok ? answer.lease.devices.map(({ uuid, units }) => [uuid, units]) : answer.reason;
}

function committed(book: Ledger, pgId: string, units: Record<string, number>[], epoch = 1): void {
  expect(
    book.prepare(
      pgId,
      epoch,
      units.map((one, index) => ({ index, units: one, devices: [] })),
    ),
  ).toEqual({ ok: true });
  book.commit(
    pgId,
    epoch,
    units.map((_, index) => index),
  );
}

describe("single devices (ray.md 4)", () => {
  test("CPUs of a lease that only waits are lent, and taken back even if that is more than there is", () => {
    const book = ledger(1, 2);
    expect(book.acquire(ask("lease_a", { CPU: 2 * WHOLE, GPU: WHOLE })).ok).toBe(true);
    book.lend("lease_a", true);
    book.lend("lease_a", true);
    expect(book.view()).toMatchObject({ free: { CPU: 2 * WHOLE }, devices: {} });
    expect(book.acquire(ask("lease_b", { CPU: WHOLE })).ok).toBe(true);
    book.lend("lease_a", false);
    expect(book.view().free["CPU"]).toBeUndefined();
    book.release("lease_b");
    expect(book.acquire(ask("lease_c", { CPU: WHOLE }))).toMatchObject({ ok: false });
    book.lend("lease_a", true);
    book.release("lease_a");
    expect(book.view()).toMatchObject({ free: { CPU: 2 * WHOLE }, devices: { "gpu-0": WHOLE } });
  });

  test("whole devices are taken by lowest index, and only fully free ones", () => {
    const book = ledger(3);
    take(book, "lease_a", 100, { devices: [{ ...device(0), units: 100 }] });
    expect(take(book, "lease_b", 2 * WHOLE)).toEqual([
      ["gpu-1", WHOLE],
      ["gpu-2", WHOLE],
    ]);
  });

  test("a fraction goes where the least remains", () => {
    const book = ledger(3);
    take(book, "lease_a", 5_000);
    take(book, "lease_b", 8_000);
    expect(take(book, "lease_c", 2_000)).toEqual([["gpu-1", 2_000]]);
    expect(take(book, "lease_d", 5_000)).toEqual([["gpu-0", 5_000]]);
  });

  test("2 × 0.6 needs two devices: a fraction never spans them", () => {
    const book = ledger(1);
    take(book, "lease_a", 6_000);
    expect(take(book, "lease_b", 6_000)).toMatch(/0.4 GPU free, 0.6 GPU wanted/);
  });

  test("0.3 + 0.3 + 0.4 fill one device exactly (B19)", () => {
    const book = ledger(1);
    for (const [id, units] of [
      ["lease_a", 3_000],
      ["lease_b", 3_000],
      ["lease_c", 4_000],
    ] as const) {
      expect(take(book, id, units)).toEqual([["gpu-0", units]]);
    }
    expect(book.view().devices).toEqual({});
  });

  test("1.5 devices are refused (B20)", () => {
    expect(take(ledger(), "lease_a", 15_000)).toMatch(/1.5 GPU wanted/);
  });

  test("unhealthy and quarantined devices are not offered; a restored one is (F23, F34)", () => {
    const book = new Ledger({ scalars: {}, devices: [device(0, { health: "unhealthy" }), device(1)] });
    expect(Object.keys(book.view().devices)).toEqual(["gpu-1"]);
    book.withhold("gpu-1", "quarantined", "pid 7 is in D state");
    expect(book.view().devices).toEqual({});
    expect(take(book, "lease_a", WHOLE)).toMatch(/0 GPU free/);
    book.withhold("gpu-1", "quarantined", undefined);
    expect(take(book, "lease_a", WHOLE)).toEqual([["gpu-1", WHOLE]]);
  });

  test("a device that is quarantined while it is held comes back only when it is restored", () => {
    const book = ledger(1);
    take(book, "lease_a", WHOLE);
    book.withhold("gpu-0", "quarantined", "left behind");
    book.release("lease_a");
    expect(book.view().devices).toEqual({});
    book.withhold("gpu-0", "quarantined", undefined);
    expect(book.view().devices).toEqual({ "gpu-0": WHOLE });
  });
});

describe("links between devices", () => {
  const linked = (index: number) =>
    device(index, { linkDomain: index < 2 ? "left" : "right", numaNode: index < 2 ? 0 : 1 });
  const book = () => new Ledger({ scalars: {}, devices: [0, 1, 2, 3, 4].map(linked) });

  test("what the ledger chooses itself is linked, and leaves the larger group whole", () => {
    const one = book();
    expect(take(one, "lease_a", WHOLE)).toEqual([["gpu-0", WHOLE]]);
    expect(take(one, "lease_b", 2 * WHOLE)).toEqual([
      ["gpu-2", WHOLE],
      ["gpu-3", WHOLE],
    ]);
  });

  test("STRICT: of one link domain or not at all, chosen and proposed alike", () => {
    const links = "STRICT" as const;
    expect(take(book(), "lease_a", 4 * WHOLE, { links })).toMatch(/and all must be in one link domain/);
    expect(take(book(), "lease_a", 3 * WHOLE, { links })).toEqual([2, 3, 4].map((index) => [`gpu-${index}`, WHOLE]));
    const devices = [1, 2].map((index) => ({ ...linked(index), units: WHOLE }));
    expect(take(book(), "lease_a", 2 * WHOLE, { links, devices })).toMatch(/are of 2 link domains/);
    expect(take(book(), "lease_a", 2 * WHOLE, { devices })).toHaveLength(2);
  });

  test("a bundle knows how its devices are linked, too", () => {
    const one = book();
    const asks = [{ index: 0, units: { GPU: 5 * WHOLE }, devices: [] }];
    expect(one.prepare("pg_a", 1, asks)).toEqual({ ok: true });
    one.commit("pg_a", 1, [0]);
    const inside = { pgId: "pg_a", bundleIndex: 0 };
    expect(take(one, "lease_a", WHOLE, inside)).toEqual([["gpu-0", WHOLE]]);
    expect(take(one, "lease_b", 3 * WHOLE, inside)).toEqual([2, 3, 4].map((index) => [`gpu-${index}`, WHOLE]));
  });

  test("several reasons to hold a device back: the one that lasts longest is told, and all must go", () => {
    const one = ledger(1);
    one.withhold("gpu-0", "busy", "foreign pid 7");
    one.setHealth("gpu-0", "unhealthy", "Xid 79");
    expect(one.view().withheld).toEqual({ "gpu-0": { kind: "unhealthy", reason: "Xid 79" } });
    const { version } = one;
    one.withhold("gpu-0", "busy", "foreign pid 7");
    expect(one.version).toBe(version);
    one.setHealth("gpu-0", "ok");
    expect(one.view()).toMatchObject({ devices: {}, withheld: { "gpu-0": { kind: "busy" } } });
    one.withhold("gpu-0", "busy", undefined);
    expect(one.view()).toEqual({ version: one.version, free: { CPU: 8 * WHOLE }, devices: { "gpu-0": WHOLE } });
  });
});

describe("proposals of the head (mechanism 4)", () => {
  test("are confirmed where they fit", () => {
    expect(take(ledger(), "lease_a", WHOLE, { devices: [{ ...device(1), units: WHOLE }] })).toEqual([["gpu-1", WHOLE]]);
  });

  test.each([
    ["taken", [{ ...device(0), units: WHOLE }], /gpu-0 has 0.5 free/],
    ["unknown", [{ ...device(9), units: WHOLE }], /gpu-9 is not here/],
    ["too little", [{ ...device(1), units: 5_000 }], /1 devices with 0.5 were proposed for 1 GPU/],
    ["of another resource", [{ ...device(1), resource: "NPU", units: WHOLE }], /no NPU is wanted/],
  ])("that are %s are refused with the reason, and nothing is taken", (_, devices, reason) => {
    const book = ledger();
    take(book, "lease_a", 5_000);
    const before = book.view();
    expect(take(book, "lease_b", WHOLE, { devices })).toMatch(reason);
    expect(book.view()).toEqual(before);
  });

  test("a device named twice is refused", () => {
    const twice = [
      { ...device(1), units: WHOLE },
      { ...device(1), units: WHOLE },
    ];
    expect(take(ledger(), "lease_a", 2 * WHOLE, { devices: twice })).toMatch(/proposed twice/);
  });
});

describe("bundles", () => {
  test("all of a group's bundles or none", () => {
    const book = ledger(2);
    const before = book.view();
    const asks = [0, 1, 2].map((index) => ({ index, units: { CPU: WHOLE, GPU: WHOLE }, devices: [] }));
    expect(book.prepare("pg_a", 1, asks)).toMatchObject({ ok: false, reason: expect.stringContaining("bundle 2") });
    expect(book.view()).toEqual(before);
  });

  test("what one bundle was promised is not chosen for another", () => {
    const book = ledger(2);
    const asks = [
      { index: 0, units: { GPU: WHOLE }, devices: [] },
      { index: 1, units: { GPU: WHOLE }, devices: [{ ...device(0), units: WHOLE }] },
    ];
    expect(book.prepare("pg_a", 1, asks)).toEqual({ ok: true });
  });

  test("a lease inside takes the bundle's devices, and the node's view does not change (ray.md 2.4)", () => {
    const book = ledger(2);
    committed(book, "pg_a", [{ CPU: WHOLE, GPU: WHOLE }]);
    const before = book.view();
    expect(take(book, "lease_a", WHOLE, { pgId: "pg_a", bundleIndex: 0 })).toEqual([["gpu-0", WHOLE]]);
    expect(book.view()).toEqual(before);
    expect(take(book, "lease_b", 100, { pgId: "pg_a", bundleIndex: 0 })).toMatch(/bundle 0 of pg_a: 0 GPU free/);
  });

  test("0.9 and 0.01 of one bundle device go to the same device (areal 1.3: fork in a bundle)", () => {
    const book = ledger(2);
    committed(book, "pg_a", [{ GPU: 2 * WHOLE }]);
    const first = take(book, "lease_a", 9_000, { pgId: "pg_a" });
    const second = take(book, "lease_b", 100, { pgId: "pg_a" });
    expect(first).toEqual([["gpu-0", 9_000]]);
    expect(second).toEqual([["gpu-0", 100]]);
  });

  test("the wildcard takes the first bundle that holds the whole demand", () => {
    const book = ledger(2);
    committed(book, "pg_a", [{ CPU: WHOLE }, { CPU: 3 * WHOLE }, { CPU: 3 * WHOLE }]);
    const answer = book.acquire(ask("lease_a", { CPU: 2 * WHOLE }, { pgId: "pg_a" }));
    expect(answer).toMatchObject({ ok: true, lease: { bundleIndex: 1 } });
  });

  test("no lease before the commit, none in a bundle that is being released", () => {
    const book = ledger();
    book.prepare("pg_a", 1, [{ index: 0, units: { CPU: WHOLE }, devices: [] }]);
    const inside = ask("lease_a", { CPU: WHOLE }, { pgId: "pg_a", bundleIndex: 0 });
    expect(book.acquire(inside)).toMatchObject({ ok: false, reason: "pg_a has no committed bundle 0 on this node" });
    book.commit("pg_a", 1, [0]);
    expect(book.acquire(inside)).toMatchObject({ ok: true });
    expect(book.close("pg_a", 1)).toEqual({ indices: [0], leaseIds: ["lease_a"] });
    expect(book.acquire({ ...inside, leaseId: "lease_b" })).toMatchObject({ ok: false });
    expect(() => book.releaseBundles("pg_a", [0])).toThrow(expect.objectContaining({ code: "BUNDLE_BUSY" }));
    book.release("lease_a");
    book.releaseBundles("pg_a", [0]);
    expect(book.view().free).toEqual({ CPU: 8 * WHOLE });
  });

  test("an older epoch is refused, also after the group is gone (mechanism 3)", () => {
    const book = ledger();
    committed(book, "pg_a", [{ CPU: WHOLE }], 2);
    const again = () => book.prepare("pg_a", 1, [{ index: 1, units: { CPU: WHOLE }, devices: [] }]);
    expect(again).toThrow(expect.objectContaining({ code: "STALE_EPOCH" }));
    expect(() => book.commit("pg_a", 1, [0])).toThrow(expect.objectContaining({ code: "STALE_EPOCH" }));
    book.releaseBundles("pg_a", book.close("pg_a", 2).indices);
    expect(again).toThrow(expect.objectContaining({ code: "STALE_EPOCH" }));
  });

  test("a release of an older epoch leaves newer bundles alone", () => {
    const book = ledger();
    committed(book, "pg_a", [{ CPU: WHOLE }], 2);
    expect(book.close("pg_a", 1)).toEqual({ indices: [], leaseIds: [] });
    expect(book.runningBundles()).toEqual([{ pgId: "pg_a", index: 0, epoch: 2, committed: true }]);
  });

  test("a bundle that is held under another epoch or size is not taken again", () => {
    const book = ledger();
    committed(book, "pg_a", [{ CPU: WHOLE }], 1);
    const again = (epoch: number, cpu: number) => {
      return book.prepare("pg_a", epoch, [{ index: 0, units: { CPU: cpu }, devices: [] }]);
    };
    expect(again(1, 2 * WHOLE)).toMatchObject({ ok: false, reason: expect.stringContaining("release it first") });
    expect(again(2, WHOLE)).toMatchObject({ ok: false, reason: expect.stringContaining("epoch 1, committed") });
    expect(again(1, WHOLE)).toEqual({ ok: true });
  });

  test("an index twice, and a commit of what was not prepared, change nothing", () => {
    const book = ledger();
    const twice = [0, 0].map((index) => ({ index, units: { CPU: WHOLE }, devices: [] }));
    expect(() => book.prepare("pg_a", 1, twice)).toThrow(expect.objectContaining({ code: "INVALID_BUNDLES" }));
    book.prepare("pg_a", 1, twice.slice(1));
    expect(() => book.commit("pg_a", 1, [0, 7])).toThrow(expect.objectContaining({ code: "BUNDLE_NOT_FOUND" }));
    expect(book.runningBundles()).toMatchObject([{ committed: false }]);
  });

  test(`epochs of at most ${REMEMBERED_GROUPS_LIMIT} groups are remembered, those with bundles always`, () => {
    const book = ledger();
    committed(book, "pg_kept", [{ CPU: WHOLE }], 5);
    for (let at = 0; at <= REMEMBERED_GROUPS_LIMIT; at++) book.close(`pg_${at}`, 5);
    expect(() => book.prepare("pg_kept", 4, [])).toThrow(expect.objectContaining({ code: "STALE_EPOCH" }));
    expect(book.prepare("pg_0", 4, [])).toEqual({ ok: true });
  });
});

describe("leases", () => {
  test("placement needs more than is held: an actor that asked for nothing needs 1 CPU to be placed (Ray)", () => {
    const book = ledger(0, 1);
    const placed = ask("lease_a", {}, { placementUnits: { CPU: WHOLE } });
    expect(book.acquire(placed)).toMatchObject({ ok: true });
    expect(book.view().free).toEqual({ CPU: WHOLE });
    book.acquire(ask("lease_b", { CPU: WHOLE }));
    expect(book.acquire({ ...placed, leaseId: "lease_c" })).toMatchObject({
      ok: false,
      reason: "0 CPU free, 1 CPU wanted",
    });
  });

  test("an unknown resource is short, also one named like a method of objects", () => {
    expect(ledger().acquire(ask("lease_a", { toString: 1 }))).toMatchObject({ ok: false });
    expect(ledger().acquire(ask("lease_a", { NPU: WHOLE }))).toMatchObject({ ok: false });
  });

  test("released twice is released once", () => {
    const book = ledger();
    book.acquire(ask("lease_a", { CPU: WHOLE }));
    expect([book.release("lease_a"), book.release("lease_a")]).toEqual([true, false]);
    expect(book.view().free).toEqual({ CPU: 8 * WHOLE });
  });

  test("the view's version grows with each change, and only then", () => {
    const book = ledger();
    const first = book.version;
    book.acquire(ask("lease_a", { CPU: 100 * WHOLE }));
    expect(book.version).toBe(first);
    book.acquire(ask("lease_a", { CPU: WHOLE }));
    expect(book.version).toBe(first + 1);
    book.release("lease_a");
    expect(book.version).toBe(first + 2);
  });
});
