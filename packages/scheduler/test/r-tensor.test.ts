import { ObjectRefWire, Tensor } from "@whipray/rpc";
import { beforeEach, describe, expect, test } from "vitest";
import { type ClusterScheduler, RTensor, RTensorError } from "../src/index.ts";
import { tensorMeta } from "../src/r-tensor.ts";
import { mapObjects } from "../src/tensor-tree.ts";
import { MemoryCluster } from "./memory-cluster.ts";
import { engineClasses } from "./memory-engine.ts";

let cluster: MemoryCluster;
let scheduler: ClusterScheduler;
let received: unknown[];
const tensor = (...values: number[]): Tensor => new Tensor("f4", [1, values.length], new Float32Array(values));
const call = (worker: string, method: string, options = {}) =>
  cluster.run(scheduler.callEngine(worker, method, options));
const batch = (size: number, worker = "a/0") =>
  call(worker, "batch", { args: [size], remote: true }) as Promise<{ rows: RTensor[]; size: number }>;
const engineOf = (worker: string) => cluster.serverOf(worker).engine!;

beforeEach(async () => {
  received = [];
  engineClasses.set("my.Engine", () => ({
    batch: (size: number) => ({ rows: Array.from({ length: size }, (_, index) => tensor(index)), size }),
    take: (...args: unknown[]) => {
      received.push(args);
      return received.length;
    },
    *stream(rows: number) {
      for (let row = 0; row < rows; row++) yield tensor(row);
    },
  }));
  cluster = new MemoryCluster();
  scheduler = cluster.scheduler();
  await cluster.run(scheduler.createWorkers({ role: "a", replicas: 3, tasks: [{ cpu: 1, gpu: 1, mem: 1 }] }));
  for (const id of ["a/0", "a/1", "a/2"]) await cluster.run(scheduler.createEngine(id, "my.Engine"));
});

describe("areal 6.25: tensors that stay on their engine", () => {
  test("a result has meta data and ids; what is no tensor comes as it is", async () => {
    const { rows, size } = await batch(2);
    expect(size).toBe(2);
    expect(rows[1]).toBeInstanceOf(RTensor);
    expect(rows[1]).toMatchObject({
      workerId: "a/0",
      id: expect.stringMatching(/^rtensor_\d+_2:f4:1x1$/),
      dtype: "f4",
      shape: [1, 1],
      byteLength: 4,
    });
    expect(String(rows[1])).toBe("RTensor(f4 [1, 1] on a/0)");
    expect(await cluster.run(rows[1]!.fetch())).toEqual(tensor(1));
    expect(await call("a/0", "batch", { args: [1] })).toEqual({ rows: [tensor(0)], size: 1 });
  });

  test("localize restores values, dtypes and order, from several workers at once", async () => {
    const [first, second] = [await batch(3, "a/0"), await batch(3, "a/1")];
    const mixed = { b: second.rows.toReversed(), a: [first.rows, "text", { again: first.rows[0] }], n: 1 };
    expect(await cluster.run(scheduler.localize(mixed))).toEqual({
      b: [tensor(2), tensor(1), tensor(0)],
      a: [[tensor(0), tensor(1), tensor(2)], "text", { again: tensor(0) }],
      n: 1,
    });
    const plain = { x: [1, tensor(1)] };
    expect(await scheduler.localize(plain)).toBe(plain);
  });

  test("100 tensors of one worker come in requests of at most 32, each id once", async () => {
    const { rows } = await batch(100);
    expect(await cluster.run(scheduler.localize([rows, rows]))).toHaveLength(2);
    expect(engineOf("a/0").fetched.map((ids) => ids.length)).toEqual([32, 32, 32, 4]);
  });

  test("a missing one is an error that names it and its worker; the others are not given half", async () => {
    const { rows } = await batch(3);
    await cluster.run(rows[1]![Symbol.asyncDispose]());
    const error = await cluster.run(scheduler.localize(rows)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RTensorError);
    expect(error).toMatchObject({ code: "RTENSOR_LOST", workerId: "a/0", tensorIds: [rows[1]!.id] });
    expect((error as Error).message).toContain(`${rows[1]!.id} of worker 'a/0' cannot be had`);
  });

  test("as an argument it goes from its owner straight to the worker that is called", async () => {
    const { rows } = await batch(40);
    await call("a/1", "take", { args: [{ rows: rows.slice(0, 34) }, "x"], kwargs: { last: rows[39] } });
    expect(received).toEqual([
      [{ rows: rows.slice(0, 34).map((_, index) => tensor(index)) }, "x", { last: tensor(39) }],
    ]);
    expect(cluster.serverOf("a/1").askedOthers).toEqual(["fetchTensors a.0", "fetchTensors a.0"]);
  });

  test("its own engine uses it in place: nothing is fetched", async () => {
    const { rows } = await batch(2);
    await call("a/0", "take", { args: rows });
    expect(received).toEqual([[tensor(0), tensor(1)]]);
    expect(engineOf("a/0").fetched).toEqual([]);
    expect(cluster.serverOf("a/0").askedOthers).toEqual([]);
  });

  test("later calls of a worker wait behind one whose tensors are still on the way", async () => {
    const { rows } = await batch(1);
    const slow = Promise.withResolvers<void>();
    const owner = cluster.serverOf("a/0");
    const { call: ask } = owner;
    owner.call = async (...args) => {
      await slow.promise;
      return ask.apply(owner, args);
    };
    const first = scheduler.callEngine("a/1", "take", { args: [rows[0]] });
    const second = scheduler.callEngine("a/1", "take", { args: ["second"] });
    const third = scheduler.callEngine("a/1", "take", { args: [rows[0], "third"] });
    const fourth = scheduler.callEngine("a/1", "take", { args: ["fourth"] });
    await cluster.clock.run(5);
    expect(received).toEqual([]);
    slow.resolve();
    expect(await cluster.run(Promise.all([first, second, third, fourth]))).toEqual([1, 2, 3, 4]);
    expect(received[1]).toEqual(["second"]);
  });

  test("one of a dead worker fails the call that needs it, with the cause of that death; the called worker is fine", async () => {
    const { rows } = await batch(1);
    cluster.serverOf("a/0").end({ message: "exited", exitCode: 9 });
    const error = await call("a/1", "take", { args: rows }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: "EngineCallError", workerId: "a/1", details: { code: "RTENSOR_LOST" } });
    expect((error as Error).message).toContain("of worker 'a/0' cannot be had: exited");
    expect(received).toEqual([]);
    await expect(cluster.run(scheduler.localize(rows))).rejects.toMatchObject({
      name: "RTensorError",
      cause: { name: "WorkerFailedError", exitCode: 9 },
    });
    expect(await call("a/1", "take", { args: [] })).toBe(1);
  });

  test("items of a stream stay too, and a stream takes them as arguments", async () => {
    const items: RTensor[] = [];
    for await (const item of scheduler.streamEngine("a/0", "stream", { args: [3], remote: true }))
      items.push(item as RTensor);
    expect(await cluster.run(scheduler.localize(items))).toEqual([tensor(0), tensor(1), tensor(2)]);
    await call("a/2", "take", { args: [items[2]] });
    expect(received).toEqual([[tensor(2)]]);
  });

  test("clear frees those of a value, or all, and says how much; a worker that is gone has none", async () => {
    const [first, second] = [await batch(3, "a/0"), await batch(5, "a/1")];
    expect(await cluster.run(scheduler.clearTensors({ some: first.rows.slice(1) }))).toEqual({ cleared: 2, bytes: 8 });
    expect(await cluster.run(scheduler.clearTensors(first))).toEqual({ cleared: 1, bytes: 4 });
    cluster.serverOf("a/0").end({ message: "exited" });
    expect(await cluster.run(scheduler.clearTensors())).toEqual({ cleared: 5, bytes: 20 });
    expect(engineOf("a/1").tensors.size).toBe(0);
    await expect(cluster.run(scheduler.localize(second))).rejects.toThrow(RTensorError);
    await expect(call("a/2", "take", { args: second.rows })).rejects.toMatchObject({
      details: { code: "RTENSOR_LOST" },
    });
  });

  test("a clear that fails otherwise is told: nothing fills up in silence", async () => {
    const { rows } = await batch(1);
    cluster.serverOf("a/0").call = async () => {
      throw new Error("no way");
    };
    await expect(scheduler.clearTensors(rows)).rejects.toThrow("no way");
  });
});

test("only ids of tensors are taken for them", () => {
  expect(tensorMeta("rtensor_k3_12:bf2:8x0x3")).toEqual({ dtype: "bf2", shape: [8, 0, 3] });
  expect(tensorMeta("rtensor_k_1:f4:")).toEqual({ dtype: "f4", shape: [] });
  for (const other of ["ref_1", "rtensor_k_1", "rtensor_k_1:f5:2", "rtensor_k_1:f4:2x", "rtensor_1:f4:2"])
    expect(tensorMeta(other)).toBeUndefined();
});

test("a value that holds itself is refused, not walked for ever", () => {
  const loop: unknown[] = [];
  loop.push({ loop });
  expect(() => mapObjects(loop, (object) => object)).toThrow("holds itself");
  expect(mapObjects([new ObjectRefWire("a", "b", "c")], () => 1)).toEqual([1]);
});
