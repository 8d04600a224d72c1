import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type Cluster, init } from "whipray";
import { EngineCallError, RayScheduler, WorkerFailedError } from "../src/index.ts";

const PYTHONPATH = fileURLToPath(new URL("./engines/", import.meta.url));
/** Goes through the node's store, and so by the RPC server. */
const LARGE = new Uint8Array(150_000);
let cluster: Cluster;
let scheduler: RayScheduler;

beforeAll(async () => {
  cluster = await init({ numCpus: 4 });
}, 60_000);
afterAll(async () => {
  await cluster.close();
}, 60_000);

beforeEach(async () => {
  scheduler = new RayScheduler({ cluster });
  await scheduler.createWorkers({ role: "actor", replicas: 1, tasks: [{ cpu: 1, mem: 0.1, envVars: { PYTHONPATH } }] });
  await scheduler.createEngine("actor/0", "toy_engines.Diary");
  return () => scheduler[Symbol.asyncDispose]();
}, 60_000);

const call = (method: string, args: unknown[] = [], options = {}): Promise<unknown> =>
  scheduler.callEngine("actor/0", method, { args, ...options });
/** The driver comes to have a connection of its own to the engine, and the door is gone. */
const straight = () => expect.poll(() => call("sockets"), { timeout: 20_000 }).toEqual([2, 0]);

test("a driver on the engine's machine comes to have a connection of its own; the door leaves no file", async () => {
  await straight();
});

test("calls keep their order while some go straight and large ones by the RPC server, from the first one on", async () => {
  for (let round = 0; round < 3; round++) {
    const numbers = Array.from({ length: 200 }, (_, at) => round * 200 + at);
    await Promise.all(numbers.map((number) => call("note", number % 17 === 5 ? [number, LARGE] : [number])));
  }
  const numbers = Array.from({ length: 200 }, (_, at) => 600 + at);
  await Promise.all(numbers.map((number) => call("note", number % 3 === 0 ? [number, LARGE] : [number])));
  expect(await call("read")).toEqual(Array.from({ length: 800 }, (_, at) => at));
});

test("while a straight call runs the worker tells which one; cancels and deadlines reach it", async () => {
  await straight();
  const stop = new AbortController();
  const cancelled = expect(call("until_cancelled", [], { signal: stop.signal })).rejects.toMatchObject({
    code: "CANCELLED",
  });
  await expect
    .poll(() => scheduler.health("actor"), { timeout: 20_000 })
    .toMatchObject([{ method: "until_cancelled" }]);
  stop.abort();
  await cancelled;
  expect(await call("read")).toEqual(["cancelled"]);
  await expect(call("until_cancelled", [], { timeoutMs: 50 })).rejects.toMatchObject({
    details: { code: "DEADLINE_EXCEEDED" },
  });
  expect(await call("read")).toEqual(["cancelled", "cancelled"]);
});

test("streams and large results come by the straight way too", async () => {
  await straight();
  const items: unknown[] = [];
  for await (const item of scheduler.streamEngine("actor/0", "count", { args: [200] })) items.push(item);
  expect(items).toEqual(Array.from({ length: 200 }, (_, at) => at));
  expect(await call("pad", [1_000_000])).toEqual(new Uint8Array(1_000_000));
});

test("an engine that dies under straight calls: each hears of the signal and the last words, and so do later ones", async () => {
  await straight();
  const calls = [call("die"), call("note", [1]), call("note", [2])];
  for (const one of calls) {
    const error = (await one.catch((thrown: unknown) => thrown)) as WorkerFailedError;
    expect(error).toBeInstanceOf(WorkerFailedError);
    expect(error.message).toContain("exit code -9");
    expect(error.message).toContain("an illegal memory access");
    expect(error.where?.logPath).toMatch(/\.log/);
  }
  await expect(call("note", [3])).rejects.toBeInstanceOf(WorkerFailedError);
});

test("an RPC server that dies under a straight call takes its engine along, and the caller hears of it", async () => {
  await straight();
  const server = (await cluster.listActors()).find(({ name, state }) => name === "actor.0" && state === "ALIVE");
  const running = call("sleep", [60]);
  await expect.poll(() => scheduler.health("actor"), { timeout: 20_000 }).toMatchObject([{ method: "sleep" }]);
  process.kill(server!.pid!, "SIGKILL");
  await expect(running).rejects.toMatchObject({ name: "WorkerFailedError", exitCode: -9 });
});

test("a method that raises fails its one call, with the engine's own words", async () => {
  await straight();
  const error = (await call("note").catch((thrown: unknown) => thrown)) as EngineCallError;
  expect(error).toBeInstanceOf(EngineCallError);
  expect(error.message).toMatch(/missing 1 required positional argument/);
  expect(await call("read")).toEqual([]);
});
