import { fileURLToPath } from "node:url";
import { engineHostPath } from "@whipray/engine";
import type { IncomingCall } from "@whipray/rpc";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EngineSlot, type RunningEngine } from "../src/engine-slot.ts";
import { LocalScheduler } from "../src/index.ts";
import type { ServerStart } from "../src/server-start.ts";

/** Has a module `torch` that counts what CUDA_VISIBLE_DEVICES shows, up to TORCH_GPUS. */
const PYTHONPATH = fileURLToPath(new URL("tests/engines/", engineHostPath()));
const NOSET = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES";
let scheduler: LocalScheduler;

beforeAll(() => {
  scheduler = new LocalScheduler({ numCpus: 4, numGpus: 3, startupTimeoutMs: 60_000, experimentName: "sight" });
});
afterAll(() => scheduler[Symbol.asyncDispose](), 60_000);

/** Health of a worker with one GPU whose engine imports torch. */
async function healthWith(role: string, env: Record<string, string>) {
  const envVars = { PYTHONPATH, TORCH_CUDA: "12.4", ...env };
  await scheduler.createWorkers({ role, replicas: 1, tasks: [{ cpu: 1, gpu: 1, mem: 0.1, envVars }] });
  await scheduler.createEngine(`${role}/0`, "torch_engine.Uses");
  return (await scheduler.health(role))[0]!;
}

test("an engine that sees other devices than were granted says so in its worker's health", async () => {
  const blind = await healthWith("blind", { TORCH_GPUS: "0" });
  expect(blind).toMatchObject({
    status: "healthy",
    engines: ["blind/0"],
    deviceMismatches: ["1 GPU were granted, but this process sees 0"],
  });
  expect((await healthWith("seeing", { TORCH_GPUS: "8" })).deviceMismatches).toBeUndefined();
}, 60_000);

test("with a NOSET flag it sees what the user shows it, and that is no mismatch", async () => {
  const health = await healthWith("noset", { TORCH_GPUS: "8", [NOSET]: "1", CUDA_VISIBLE_DEVICES: "0,1,2" });
  expect(health).toMatchObject({ status: "healthy", engines: ["noset/0"] });
  expect(health.deviceMismatches).toBeUndefined();
}, 60_000);

test("the worker says a mismatch once in its log, however many engines its host gets", async () => {
  let asked = 0;
  const engine = {
    forward: async () => {},
    health: async () => {
      asked++;
      return { deviceMismatches: ["2 GPU were granted, but this process sees 1"] };
    },
  } as unknown as RunningEngine;
  const said: string[] = [];
  const start = { workerId: "actor/0", env: {} } as ServerStart;
  const slot = new EngineSlot(
    async () => engine,
    start,
    (text) => said.push(text),
  );
  const call = { parts: [] } as unknown as IncomingCall;
  slot.create(call);
  slot.create(call);
  await expect.poll(() => asked).toBe(2);
  expect(said).toEqual(["actor/0: 2 GPU were granted, but this process sees 1"]);
});
