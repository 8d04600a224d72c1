import { ObjectStoreFullError, SimulatedClock, silentLogger, WhiprayError } from "@whipray/core";
import { expect, test } from "vitest";
import { HELD_NAMED_AFTER_MS, LET_GO_AFTER_MS } from "../src/freed-views.ts";
import { codeOf, MIB, memoryStore, put } from "./store-world.ts";

test("ten times the store's size goes through it; memory stays bounded and every byte comes back", async () => {
  const { store, segments, spill } = memoryStore();
  let most = 0;
  for (let n = 0; n < 80; n++) {
    await put(store, `obj_${n}`, MIB, n);
    most = Math.max(most, segments.bytes);
  }
  expect(most).toBeLessThanOrEqual(8 * MIB);
  expect(spill.files.size).toBeGreaterThanOrEqual(72);
  for (const n of [0, 79, 40, 1, 3]) {
    const { bytes } = await store.attach(`obj_${n}`, "reader");
    const found = await store.read(`obj_${n}`, 0, bytes);
    expect(found.length === MIB && found.every((byte) => byte === n)).toBe(true);
    store.detach(`obj_${n}`, "reader");
  }
  store.ownerGone("owner");
  await expect.poll(() => [spill.files.size, store.stats.spilledBytes, store.stats.usedBytes]).toEqual([0, 0, 0]);
});

test("a store full of pins names the holders, and takes objects again when one lets go", async () => {
  const { store } = memoryStore();
  for (let n = 0; n < 8; n++) {
    await put(store, `obj_${n}`, MIB);
    await store.attach(`obj_${n}`, n < 6 ? "worker_a pid 12" : "driver_b pid 7");
  }
  const full = await store.create({ object: "obj_x", owner: "o", creator: "c", bytes: MIB }).catch((error) => error);
  expect(full).toBeInstanceOf(ObjectStoreFullError);
  expect(full.message).toMatch(/worker_a pid 12 holds 6291456 bytes in 6 objects; driver_b pid 7 holds/);
  expect(full.retryable).toBe(true);
  const waiting = put(store, "obj_y", MIB);
  store.detach("obj_3", "worker_a pid 12");
  await waiting;
});

test("who can do without does not wait for others to let go, but for what is being spilled", async () => {
  const { store } = memoryStore({ patienceMs: 60_000 });
  for (let n = 0; n < 8; n++) await put(store, `obj_${n}`, MIB);
  const impatient = (object: string) => store.create({ object, owner: "o", creator: "c", bytes: MIB, patient: false });
  await impatient("obj_x");
  store.seal("obj_x", "c");
  for (let n = 1; n < 8; n++) await store.attach(`obj_${n}`, "reader");
  await store.attach("obj_x", "reader");
  expect(await codeOf(impatient("obj_y"))).toBe("OBJECT_STORE_FULL");
});

test("an object larger than the store is refused at once", async () => {
  const { store } = memoryStore();
  const error = await store.create({ object: "obj_x", owner: "o", creator: "c", bytes: 9 * MIB }).catch((e) => e);
  expect(error.code).toBe("OBJECT_STORE_FULL");
  expect(error.retryable).toBe(false);
  expect(error.message).toContain("8388608");
});

test("the spill quota and a full disk end in OUT_OF_DISK that says which; the objects stay", async () => {
  const small = memoryStore({ diskBytes: 2 * MIB });
  for (let n = 0; n < 10; n++) await put(small.store, `obj_${n}`, MIB, n);
  const quota = await put(small.store, "obj_x", MIB).catch((error) => error);
  expect([quota.code, quota.message]).toEqual(["OUT_OF_DISK", expect.stringMatching(/spill quota is used up/)]);
  const { store, spill } = memoryStore();
  spill.full = new WhiprayError({ code: "OUT_OF_DISK", message: "no space left on device" });
  for (let n = 0; n < 8; n++) await put(store, `obj_${n}`, MIB, n);
  const disk = await put(store, "obj_x", MIB).catch((error) => error);
  expect([disk.code, disk.message]).toEqual(["OUT_OF_DISK", expect.stringMatching(/no space left on device/)]);
  await store.attach("obj_0", "reader");
  expect((await store.read("obj_0", 0, 1))[0]).toBe(0);
});

test("a reader waits for the seal; a killed writer ends its wait with OBJECT_LOST", async () => {
  const { store } = memoryStore();
  await store.create({ object: "obj_a", owner: "o", creator: "c", bytes: MIB });
  const early = store.attach("obj_a", "reader");
  store.seal("obj_a", "c");
  expect((await early).bytes).toBe(MIB);
  await store.create({ object: "obj_b", owner: "o", creator: "c", bytes: MIB });
  const lost = codeOf(store.attach("obj_b", "reader"));
  store.holderGone("c");
  expect(await lost).toBe("OBJECT_LOST");
});

test("the segment of a reader that vanished is never used again; one that was given back is", async () => {
  const { store } = memoryStore();
  await put(store, "obj_a", MIB);
  const first = await store.attach("obj_a", "reader");
  store.holderGone("reader");
  store.free("obj_a");
  const second = await store.create({ object: "obj_b", owner: "o", creator: "writer", bytes: MIB });
  expect(second.name).not.toBe(first.place.name);
  store.seal("obj_b", "writer");
  store.free("obj_b");
  const third = await store.create({ object: "obj_c", owner: "o", creator: "writer", bytes: MIB });
  expect(third.name).toBe(second.name);
});

test("a freed object is gone for new readers, and stays for those that have it", async () => {
  const { store } = memoryStore();
  await put(store, "obj_a", MIB, 7);
  const { place } = await store.attach("obj_a", "reader");
  store.free("obj_a");
  expect(await codeOf(store.attach("obj_a", "other"))).toBe("OBJECT_FREED");
  expect(await codeOf(store.attach("obj_unknown", "other"))).toBe("OBJECT_FREED");
  await put(store, "obj_b", MIB, 8);
  expect((await store.attach("obj_b", "reader")).place.name).not.toBe(place.name);
  expect((await store.read("obj_a", 0, 1))[0]).toBe(7);
});

test("copies of objects that live elsewhere are dropped, not spilled", async () => {
  const { store, spill } = memoryStore();
  for (let n = 0; n < 4; n++) {
    await store.create({ object: `obj_copy${n}`, owner: "o", creator: "c", bytes: MIB, copy: true });
    store.seal(`obj_copy${n}`, "c");
  }
  for (let n = 0; n < 8; n++) await put(store, `obj_${n}`, MIB);
  expect(spill.files.size).toBe(0);
  expect(await codeOf(store.attach("obj_copy0", "reader"))).toBe("OBJECT_FREED");
});

test("what is read is spilled last", async () => {
  const { store } = memoryStore();
  for (let n = 0; n < 8; n++) await put(store, `obj_${n}`, MIB);
  await store.attach("obj_0", "reader");
  store.detach("obj_0", "reader");
  await put(store, "obj_x", MIB);
  expect(store.get("obj_0")?.state).toBe("sealed");
  expect(store.get("obj_1")?.state).toBe("spilled");
});

test("an id is used once; only its creator seals an object; an aborted wait leaves nothing", async () => {
  const { store } = memoryStore();
  await store.create({ object: "obj_a", owner: "o", creator: "c", bytes: 6 * MIB });
  expect(await codeOf(store.create({ object: "obj_a", owner: "o", creator: "c", bytes: 1 }))).toBe("OBJECT_EXISTS");
  expect(() => store.seal("obj_a", "somebody")).toThrow(/is not being written by somebody/);
  const abort = new AbortController();
  const waiting = store.create({ object: "obj_b", owner: "o", creator: "c", bytes: 6 * MIB }, abort.signal);
  abort.abort(new WhiprayError({ code: "CANCELLED", message: "enough" }));
  expect(await codeOf(waiting)).toBe("CANCELLED");
  expect([store.stats.waiting, store.stats.objects]).toEqual([0, 1]);
});

test("limits: segments and objects at once", async () => {
  const { store } = memoryStore({ segments: 3, objects: 5, diskBytes: 0 });
  for (let n = 0; n < 3; n++) await put(store, `obj_${n}`, 10);
  expect(await codeOf(put(store, "obj_3", 10))).toBe("OUT_OF_DISK");
  const many = memoryStore({ objects: 2 });
  await put(many.store, "obj_0", 10);
  await put(many.store, "obj_1", 10);
  expect(await codeOf(put(many.store, "obj_2", 10))).toBe("OBJECT_STORE_FULL");
});

test("no segment can be made: the writer is told, the store goes on", async () => {
  const { store, segments } = memoryStore();
  segments.broken = new WhiprayError({ code: "SEGMENT_FAILED", message: "no descriptors left", retryable: true });
  expect(await codeOf(put(store, "obj_a", 10))).toBe("SEGMENT_FAILED");
  segments.broken = undefined;
  await put(store, "obj_a", 10);
  expect(store.stats.objects).toBe(1);
});

test("a spare is granted while half of the store stays free, takes a smaller object at its seal, and another owner", async () => {
  const { store } = memoryStore();
  const spare = (object: string) => store.create({ object, owner: "c", creator: "c", bytes: 2 * MIB, spare: true });
  await spare("obj_a");
  await spare("obj_b");
  expect(await codeOf(spare("obj_c"))).toBe("OBJECT_STORE_FULL");
  expect(() => store.seal("obj_a", "c", { bytes: MIB })).toThrow(/room was made for 2097152/);
  store.seal("obj_a", "c", { bytes: 2 * MIB - 5_000, owner: "somebody" });
  expect((await store.attach("obj_a", "reader")).bytes).toBe(2 * MIB - 5_000);
  store.detach("obj_a", "reader");
  store.ownerGone("c");
  expect(store.get("obj_a")?.state).toBe("sealed");
  store.ownerGone("somebody");
  store.seal("obj_b", "c");
  expect(store.stats).toMatchObject({ objects: 0, usedBytes: 0, pooledBytes: 4 * MIB });
});

test("who holds a freed object is asked to let go, and named when he does not", async () => {
  const clock = new SimulatedClock();
  const warnings: unknown[] = [];
  const { store } = memoryStore({}, clock, { ...silentLogger, warn: (_, fields) => void warnings.push(fields) });
  const asked: unknown[] = [];
  store.onLetGo((holder, objects) => asked.push([holder, objects]));
  for (const id of ["obj_a", "obj_b", "obj_c"]) {
    await put(store, id, MIB);
    await store.attach(id, `reader of ${id}`);
  }
  store.free("obj_a");
  store.ownerGone("owner");
  store.detach("obj_c", "reader of obj_c");
  await clock.run(LET_GO_AFTER_MS);
  expect(asked).toEqual([
    ["reader of obj_a", ["obj_a"]],
    ["reader of obj_b", ["obj_b"]],
  ]);
  store.detach("obj_b", "reader of obj_b");
  await clock.run(HELD_NAMED_AFTER_MS - LET_GO_AFTER_MS - 1);
  expect(warnings).toEqual([]);
  await clock.run(10 * HELD_NAMED_AFTER_MS);
  expect(warnings).toEqual([{ object: "obj_a", bytes: MIB, holders: ["reader of obj_a"] }]);
  expect(asked.length).toBe(2);
});

test("room that views take: readers are asked once by each who waits, and not while something is being spilled", async () => {
  const { store } = memoryStore({ patienceMs: 60_000 });
  const asked: unknown[] = [];
  store.onLetGo((holder, objects) => asked.push([holder, objects]));
  for (let n = 0; n < 9; n++) await put(store, `obj_${n}`, MIB);
  expect(asked).toEqual([]);
  for (let n = 1; n < 9; n++) await store.attach(`obj_${n}`, "reader");
  const waiting = put(store, "obj_x", MIB);
  expect(asked).toEqual([["reader", []]]);
  store.detach("obj_3", "reader");
  await waiting;
  expect(asked.length).toBe(1);
});
