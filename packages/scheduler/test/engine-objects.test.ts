import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cluster, init } from "whipray";
import { RayScheduler } from "../src/index.ts";

const PYTHONPATH = fileURLToPath(new URL("./engines/", import.meta.url));
const PYTHON = fileURLToPath(new URL("../../../.venv/bin/python", import.meta.url));
const LENGTH = 200_000;
const MIB = 1_048_576;
let cluster: Cluster;
let scheduler: RayScheduler;

beforeAll(async () => {
  cluster = await init({ numCpus: 4, objectStoreMemory: 16 * MIB });
  scheduler = new RayScheduler({ cluster });
  const task = { cpu: 1, mem: 0.1, envVars: { PYTHONPATH }, python: PYTHON };
  await scheduler.createWorkers({ role: "actor", replicas: 1, tasks: [task] });
  await scheduler.createEngine("actor/0", "shared_engine.Shared");
}, 60_000);
afterAll(async () => {
  await scheduler[Symbol.asyncDispose]();
  await cluster.close();
}, 60_000);

const call = (method: string, ...args: unknown[]) => scheduler.callEngine("actor/0", method, { args });
/** Without the room that writers ask for ahead. */
const objects = async () => (await cluster.listObjects())[0]!.objects.filter(({ state }) => state !== "writing");
const empty = () => expect.poll(objects, { timeout: 10_000 }).toEqual([]);

test("a large argument is mapped by the engine: numpy looks at the memory that the driver wrote", async () => {
  const [sum, where] = (await call("look", new Float64Array(LENGTH).fill(2))) as [number, string];
  expect(sum).toBe(2 * LENGTH);
  expect(where).toMatch(/memfd:whipray-/);
  await empty();
});

test("an array that the engine keeps stays held, whatever else goes through the store; dropped it is given back", async () => {
  await call("keep", new Float64Array(LENGTH).fill(3));
  for (let n = 0; n < 20; n++) await call("look", new Float64Array(LENGTH).fill(n));
  expect(await call("kept_sum")).toBe(3 * LENGTH);
  await expect.poll(objects, { timeout: 10_000 }).toMatchObject([{ holders: [expect.stringMatching(/worker_/)] }]);
  await call("drop");
  await empty();
});

test("a large result is written into the store by the engine, and got as a view", async () => {
  const made = (await call("make", LENGTH, 7)) as Float64Array;
  expect([made.length, made[0], made[LENGTH - 1]]).toEqual([LENGTH, 7, 7]);
  expect(cluster.release(made)).toBe(true);
  expect(made.length).toBe(0);
  await empty();
});

test("arguments and results larger than the store go through the sockets", async () => {
  const large = new Float64Array(3 * MIB).fill(1);
  const back = (await call("echo", large)) as Float64Array;
  expect([back.length, back[3 * MIB - 1]]).toEqual([3 * MIB, 1]);
  expect(cluster.release(back)).toBe(false);
});
