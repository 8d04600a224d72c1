import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { MessageChannel } from "node:worker_threads";
import { silentLogger, systemClock } from "@whipray/core";
import { expect, onTestFinished, test } from "vitest";
import {
  DEFAULT_LIMITS,
  layoutBytes,
  MemfdSegments,
  MemorySpill,
  NodeStore,
  ObjectViews,
  procMapper,
  type SegmentPlace,
  SegmentWriter,
} from "../src/index.ts";
import { libc } from "../src/libc.io.ts";
import { MIB } from "./store-world.ts";

let made = 0;

function realStore(capacityBytes = 64 * MIB) {
  const segments = new MemfdSegments("cluster1-node1", () => `${++made}`);
  const limits = { ...DEFAULT_LIMITS, capacityBytes, diskBytes: 1_000 * MIB, patienceMs: 20 };
  const store = new NodeStore({ limits, segments, spill: new MemorySpill(), clock: systemClock, logger: silentLogger });
  const writer = new SegmentWriter(procMapper);
  const detached: string[] = [];
  const views = new ObjectViews(procMapper, (object) => {
    detached.push(object);
    store.detach(object, "us");
  });
  onTestFinished(async () => {
    views.close();
    writer.close();
    await store.close();
  });
  const put = async (object: string, parts: Uint8Array[]): Promise<SegmentPlace> => {
    const place = await store.create({ object, owner: "us", creator: "us", bytes: layoutBytes(parts) });
    writer.write(place, parts);
    store.seal(object, "us");
    return place;
  };
  const open = async (object: string): Promise<Uint8Array[]> => {
    const { place, bytes } = await store.attach(object, "us");
    return views.open(object, place, bytes);
  };
  return { store, put, open, views, writer, detached };
}

async function otherProcess(): Promise<{ child: ChildProcess; ask(order: object): Promise<Record<string, unknown>> }> {
  const child = fork(fileURLToPath(new URL("./segment-process.ts", import.meta.url)), { execArgv: [] });
  onTestFinished(() => void child.kill("SIGKILL"));
  return {
    child,
    async ask(order) {
      child.send(order);
      return (await once(child, "message"))[0] as Record<string, unknown>;
    },
  };
}

function segmentsInMaps(): number {
  return readFileSync("/proc/self/maps", "utf8").split("whipray-cluster1-node1").length - 1;
}

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
}

test("another process reads what this one wrote, and the other way round, in the same memory", async () => {
  const { store, put, open } = realStore();
  const { ask } = await otherProcess();
  const parts = [Uint8Array.of(1, 2, 3), new Uint8Array(200_000).fill(5)];
  const place = await put("obj_a", parts);
  const bytes = layoutBytes(parts);
  const { result } = await ask({ do: "sum", place, bytes });
  expect(result).toBeGreaterThan(1_000_006);
  const given = await store.create({
    object: "obj_b",
    owner: "us",
    creator: "them",
    bytes: layoutBytes([new Uint8Array(4)]),
  });
  await ask({ do: "write", place: given, parts: [[9, 8, 7, 6]] });
  store.seal("obj_b", "them");
  expect(await open("obj_b")).toEqual([Uint8Array.of(9, 8, 7, 6)]);
});

test("nobody can truncate a segment under its readers; a reader that is killed takes nothing with it", async () => {
  const { put, open } = realStore();
  const { child, ask } = await otherProcess();
  const place = await put("obj_a", [new Uint8Array(200_000).fill(5)]);
  expect(await ask({ do: "truncate", place })).toEqual({ error: "EPERM" });
  await ask({ do: "sum", place, bytes: 200_064 });
  child.kill("SIGKILL");
  await once(child, "exit");
  expect((await open("obj_a"))[0]?.every((byte) => byte === 5)).toBe(true);
});

test("a segment that is not sealed, has another size or is another file is SEGMENT_LOST, not SIGBUS", () => {
  const c = libc();
  const fd = c.memfdCreate("whipray-open", 3);
  const place = { pid: process.pid, fd, name: "whipray-open", bytes: 0 };
  expect(() => procMapper.readable(place, 0)).toThrow(/not sealed/);
  expect(() => procMapper.readable({ ...place, bytes: 4_096 }, 4_096)).toThrow(/0 bytes instead of 4096/);
  expect(() => procMapper.readable({ ...place, name: "whipray-other" }, 0)).toThrow(/its descriptor is/);
  expect(() => procMapper.readable({ ...place, fd: 9_999 }, 0)).toThrow(/cannot be opened/);
});

test("what a reader writes stays with him; the object does not change and nobody crashes", async () => {
  const { put, open, store, views } = realStore();
  await put("obj_a", [new Uint8Array(200_000).fill(5)]);
  const [mine] = await open("obj_a");
  mine?.fill(1);
  expect((await store.read("obj_a", 64, 3))[2]).toBe(5);
  views.release("obj_a");
  expect((await open("obj_a"))[0]?.[7]).toBe(5);
});

test("release() detaches: the arrays have length 0, the memory is unmapped, the store knows", async () => {
  const { put, open, views, detached, store } = realStore();
  await put("obj_a", [new Uint8Array(200_000)]);
  const before = segmentsInMaps();
  const [array] = await open("obj_a");
  expect([segmentsInMaps(), store.stats.pinnedBytes]).toEqual([before + 1, 229_376]);
  expect(views.objectOf(array!.buffer)).toBe("obj_a");
  expect(views.release("obj_a")).toBe(true);
  expect([array?.length, segmentsInMaps(), store.stats.pinnedBytes, detached]).toEqual([0, before, 0, ["obj_a"]]);
  expect(views.release("obj_a")).toBe(false);
});

test("garbage collection may release sooner: the segment is unmapped when no value of it can be reached", async () => {
  const { put, open, views, detached } = realStore();
  await put("obj_a", [new Uint8Array(200_000)]);
  await (async () => void (await open("obj_a")))();
  await expect
    .poll(() => {
      collectGarbage();
      return [detached, views.count];
    })
    .toEqual([["obj_a"], 0]);
});

test("a value's memory cannot leave by transfer or to another thread, where its end would not be seen", async () => {
  const { put, open } = realStore();
  await put("obj_a", [new Uint8Array(200_000)]);
  const memory = (await open("obj_a"))[0]?.buffer as ArrayBuffer;
  expect(() => memory.transfer()).toThrow(/copy it with slice/);
  const { port1 } = new MessageChannel();
  expect(() => port1.postMessage(memory, [memory])).toThrow(/Cannot transfer/);
  port1.close();
  expect(memory.byteLength).toBeGreaterThan(0);
});

test("ten times the store's size through real segments: descriptors and memory stay bounded", async () => {
  const { store, put, open, views } = realStore(8 * MIB);
  const held = (): number =>
    readdirSync("/proc/self/fd").filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).includes("whipray-cluster1-node1");
      } catch {
        return false; // closed meanwhile
      }
    }).length;
  const before = held();
  for (let n = 0; n < 45; n++) {
    await put(`obj_${n}`, [new Uint8Array(1.9 * MIB).fill(n)]);
    expect(held() - before).toBeLessThanOrEqual(4);
  }
  for (const n of [0, 20, 44]) {
    expect((await open(`obj_${n}`))[0]?.every((byte) => byte === n)).toBe(true);
    views.release(`obj_${n}`);
  }
  expect(store.stats.usedBytes + store.stats.pooledBytes).toBeLessThanOrEqual(8 * MIB);
});

test("the writer's mapping is kept: an object of the same size lands in the same warm segment", async () => {
  const { store, put } = realStore();
  const first = await put("obj_a", [new Uint8Array(200_000)]);
  store.free("obj_a");
  expect(await put("obj_b", [new Uint8Array(199_000)])).toEqual(first);
});

test("memory that is lent is the segment's own, and stays mapped until it is back, also when the store is closed meanwhile", async () => {
  const { store, put, open } = realStore();
  await put("obj_a", [new Uint8Array(MIB).fill(7)]);
  const lent = store.lend("obj_a");
  const [part] = await open("obj_a");
  expect(lent.memory[lent.memory.indexOf(7) + 5]).toBe(part![5]);
  const at = lent.memory.indexOf(7);
  lent.memory[at] = 9;
  expect(part![0]).toBe(9);
  const mappings = (): number =>
    readFileSync("/proc/self/maps", "utf8")
      .split("\n")
      .filter((line) => line.includes(`/memfd:whipray-`) && line.includes("rw-s")).length;
  const before = mappings();
  await store.close();
  expect(lent.memory[at]).toBe(9);
  lent.back();
  expect(mappings()).toBe(before - 1);
});
