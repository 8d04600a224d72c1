import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Cluster,
  init,
  ObjectLostError,
  type ObjectRef,
  ObjectStoreFullError,
  type WhiprayError,
} from "../src/index.ts";
import type { Maker } from "./object-actor.ts";

const MAKER = new URL("./object-actor.ts", import.meta.url);
const MIB = 1_048_576;
const LENGTH = 100_000;

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "none",
    (error: WhiprayError) => error.code,
  );
}

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
}

function segmentsMapped(pid: number | "self"): number {
  const lines = readFileSync(`/proc/${pid}/maps`, "utf8").split("\n");
  return lines.filter((line) => line.includes("memfd:whipray-") && line.includes(" rw-p ")).length;
}

describe("large values of one machine lie in shared memory", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await init({ numCpus: 8, objectStoreMemory: 16 * MIB });
  });
  afterAll(() => cluster.close());

  const maker = () => cluster.actor<Maker>(MAKER, "Maker").create();
  /** Without the room that writers ask for ahead. */
  const store = async () => {
    const found = (await cluster.listObjects())[0]!;
    return { ...found, objects: found.objects.filter(({ state }) => state !== "writing") };
  };
  const empty = () => expect.poll(async () => (await store()).objects, { timeout: 10_000 }).toEqual([]);

  test("a put is copied once, got as a view, and read by another process in the same memory", async () => {
    const values = new Float64Array(LENGTH).fill(3);
    const ref = await cluster.put(values);
    values.fill(0);
    const before = segmentsMapped("self");
    const got = await cluster.get(ref);
    expect([got.length, got[0], got[LENGTH - 1]]).toEqual([LENGTH, 3, 3]);
    expect(segmentsMapped("self")).toBe(before + 1);
    expect(await cluster.get(ref)).toEqual(got);
    const actor = await maker();
    expect(await actor.sumOf({ ref })).toBe(3 * LENGTH);
    expect(segmentsMapped(await actor.pid())).toBe(1);
    expect((await store()).objects).toMatchObject([{ bytes: expect.any(Number), state: "sealed" }]);
    ref.dispose();
    expect(got[5]).toBe(3);
    expect(await codeOf(cluster.get(ref))).toBe("OBJECT_FREED");
    expect(ref.release()).toBe(false);
    expect(cluster.release(got)).toBe(true);
    expect(got.length).toBe(0);
    await cluster.kill(actor);
    await empty();
  });

  test("results above 100 KiB: by ref they stay until disposed, awaited they go with their arrays", async () => {
    const actor = await maker();
    const ref = actor.make.remote(LENGTH, 2);
    await cluster.wait([ref]);
    expect((await store()).objects.length).toBe(1);
    expect((await cluster.get(ref))[7]).toBe(2);
    ref.release();
    ref.dispose();
    await empty();
    const many = await actor.makeMany(4, 50_000);
    expect([many.text, many.arrays[3]?.[49_999]]).toEqual(["many", 3]);
    expect(cluster.release(many.arrays[0]!)).toBe(true);
    expect(many.arrays[3]?.length).toBe(0);
    await empty();
    await cluster.kill(actor);
  });

  test("refs as arguments are values when the call starts; what the callee writes into them is its own", async () => {
    const actor = await maker();
    const ref = await cluster.put(new Float64Array(LENGTH).fill(1));
    expect(await actor.sum(ref)).toBe(LENGTH);
    expect(await actor.scribble(ref)).toBe(-1);
    expect((await cluster.get(ref))[0]).toBe(1);
    ref.release();
    ref.dispose();
    await cluster.kill(actor);
    await empty();
  });

  test("refs among a constructor's arguments are values when it runs", async () => {
    const ref = await cluster.put(new Float64Array(LENGTH).fill(1));
    const small = await cluster.put(new Float64Array(3));
    const [one, two] = await Promise.all([ref, small].map((arg) => cluster.actor<Maker>(MAKER, "Maker").create(arg)));
    expect(await Promise.all([one!.keptLength(), two!.keptLength()])).toEqual([LENGTH, 3]);
    ref.dispose();
    await Promise.all([cluster.kill(one), cluster.kill(two)]);
    await empty();
  });

  test("an object ends with its owner: a worker that is killed takes its puts along (OWNER_DIED)", async () => {
    const [owner, reader] = await Promise.all([maker(), maker()]);
    const { ref } = (await owner.put(LENGTH, 5)) as { ref: ObjectRef<Float64Array> };
    expect(await reader.sumOf({ ref })).toBe(5 * LENGTH);
    const mine = await cluster.get(ref);
    process.kill(await owner.pid(), "SIGKILL");
    expect(mine[9]).toBe(5);
    const late = (await owner.pid().catch(() => 0)) as number;
    expect(late).toBe(0);
    expect(await codeOf(reader.sumOf({ ref }))).toBe("OWNER_DIED");
    await cluster.kill(reader);
    cluster.release(mine);
    await empty();
  });

  test("a reader that is killed gives its objects back", async () => {
    const actor = await maker();
    const ref = await cluster.put(new Float64Array(LENGTH));
    await actor.keep(ref);
    process.kill(await actor.pid(), "SIGKILL");
    ref.dispose();
    await empty();
  });

  test("ten times the store goes through it: old objects are spilled, read back, and freed", async () => {
    const refs: ObjectRef<Float64Array>[] = [];
    for (let n = 0; n < 80; n++) refs.push(await cluster.put(new Float64Array((2 * MIB) / 8).fill(n)));
    const full = await store();
    expect(full.spilledBytes).toBeGreaterThan(140 * MIB);
    expect(full.usedBytes + full.pooledBytes).toBeLessThanOrEqual(16 * MIB);
    for (const n of [0, 33, 79]) {
      const got = await cluster.get(refs[n]!);
      expect(got.every((value) => value === n)).toBe(true);
      refs[n]!.release();
    }
    for (const ref of refs) ref.dispose();
    await expect.poll(async () => (await store()).spilledBytes, { timeout: 10_000 }).toBe(0);
    await empty();
  });

  test("a store full of views: put names the holders; results travel in messages; one release helps", async () => {
    const refs = await Promise.all(Array.from({ length: 8 }, () => cluster.put(new Uint8Array(1.9 * MIB))));
    const views = await cluster.get(refs);
    const error = await cluster.put(new Uint8Array(MIB)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ObjectStoreFullError);
    expect((error as Error).message).toMatch(/head\/driver_\w+ inc_\w+ holds \d+ bytes in 8 objects/);
    const actor = await maker();
    expect((await actor.make(LENGTH, 4))[LENGTH - 1]).toBe(4);
    cluster.release(views[0]!);
    const fits = await cluster.put(new Uint8Array(MIB));
    for (const view of views) cluster.release(view);
    for (const ref of [...refs, fits]) ref.dispose();
    await cluster.kill(actor);
    await empty();
  });

  test("a value larger than the store is refused; small ones never touch it", async () => {
    expect(await codeOf(cluster.put(new Uint8Array(17 * MIB)))).toBe("OBJECT_STORE_FULL");
    const small = await cluster.put(new Uint8Array(100_000).fill(9));
    expect((await store()).objects).toEqual([]);
    expect((await cluster.get(small))[5]).toBe(9);
    expect(small.release()).toBe(false);
    await expect(cluster.put(small)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("wait with and without fetchLocal; refs inside of values stay refs", async () => {
    const actor = await maker();
    const made = actor.make.remote(LENGTH, 1);
    const [ready] = await cluster.wait([made], { fetchLocal: false });
    expect(ready).toEqual([made]);
    const holder = await cluster.put({ ref: made });
    const inner = (await cluster.get(holder)).ref;
    expect((await cluster.get(inner))[3]).toBe(1);
    made.release();
    made.dispose();
    await expect(cluster.get(inner)).rejects.toBeInstanceOf(ObjectLostError);
    await cluster.kill(actor);
    await empty();
  });

  test("a ref that nobody can reach any more, and that never left, frees its object before the session ends", async () => {
    const actor = await maker();
    await (async () => {
      await cluster.put(new Float64Array(LENGTH));
      await cluster.wait([actor.make.remote(LENGTH, 1)]);
    })();
    const passed = (await (async () => {
      const ref = await cluster.put(new Float64Array(LENGTH).fill(2));
      return actor.keepRef({ ref });
    })()) as number;
    expect(passed).toBe(1);
    await expect
      .poll(async () => {
        collectGarbage();
        return (await store()).objects.length;
      })
      .toBe(1);
    expect(await actor.sumOfKept()).toBe(2 * LENGTH);
    // Passed on and then lost: it stays until the session ends.
    await cluster.kill(actor);
    expect((await store()).objects.length).toBe(1);
  });
});

describe("values too large for room asked ahead", () => {
  test("what was just freed is the room of the next put: one segment, its pages stay warm", async () => {
    await using cluster = await init({ numCpus: 1, objectStoreMemory: 600 * MIB });
    const array = new Uint8Array(129 * MIB);
    for (let i = 0; i < 3; i++) (await cluster.put(array)).dispose();
    using _last = await cluster.put(array);
    const [{ usedBytes, pooledBytes } = { usedBytes: 0, pooledBytes: 0 }] = await cluster.listObjects();
    expect(usedBytes).toBeGreaterThan(0);
    expect(usedBytes + pooledBytes).toBeLessThan(2 * array.byteLength);
  });
});
