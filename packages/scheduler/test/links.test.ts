import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cluster, init } from "whipray";
import { RayScheduler, type SchedulingSpec, WorkerCreationError } from "../src/index.ts";
import { type RayPlacementStrategy, specsOf } from "../src/job.ts";
import { planRole } from "../src/placement-plan.ts";

/** NVLink in pairs: 0-1, 2-3, 4-5, 6-7. */
let cluster: Cluster;

beforeAll(async () => {
  cluster = await init({ fakeDevices: "8xH100", numCpus: 8 });
}, 60_000);
afterAll(() => cluster.close(), 60_000);

const spec = (gpu: number, more: SchedulingSpec = {}): SchedulingSpec => ({
  cpu: 0,
  gpu,
  mem: 0,
  links: "STRICT",
  ...more,
});

async function devicesOf(replicas: number, task: SchedulingSpec): Promise<number[][]> {
  await using scheduler = new RayScheduler({ cluster });
  await scheduler.createWorkers({ role: "rollout", replicas, tasks: [task] });
  const workers = await scheduler.getWorkers("rollout");
  return workers.map(({ devices }) => devices.map(({ index }) => index));
}

test("links STRICT in a spec: each worker's devices are of one link domain, in every placement", async () => {
  const pairs = [
    [0, 1],
    [2, 3],
    [4, 5],
    [6, 7],
  ];
  for (const rayPlacementStrategy of ["shared", "separate"] as const) {
    expect(await devicesOf(4, spec(2, { rayPlacementStrategy }))).toEqual(pairs);
  }
}, 60_000);

test("links STRICT that no node can keep fails at once where no node can join, and says why; ANY gets the devices", async () => {
  await using scheduler = new RayScheduler({ cluster, nodesMayJoin: false });
  const created = scheduler.createWorkers({ role: "rollout", replicas: 1, tasks: [spec(4)] });
  const error = await created.then(() => scheduler.getWorkers("rollout")).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(WorkerCreationError);
  expect(String(error)).toMatch(/needs 4 GPU.* with all devices in one link domain/);
  expect((await devicesOf(1, spec(4, { links: "ANY" })))[0]).toHaveLength(4);
}, 60_000);

test("one rule a bundle, for every placement; a rule that nobody knows is refused", () => {
  const links = (rayPlacementStrategy: RayPlacementStrategy, replicas: number, gpu: number) => {
    const specs = specsOf({ role: "r", replicas, tasks: [spec(gpu, { rayPlacementStrategy })] });
    return planRole("r", specs, { device: "GPU", nGpusPerNode: 8 }).links;
  };
  expect(links("shared", 2, 2)).toEqual([["STRICT", "STRICT"]]);
  expect(links("separate", 2, 2)).toEqual([["STRICT"], ["STRICT"]]);
  expect(links("deferred", 1, 16)).toEqual([["STRICT", "STRICT"]]);
  expect(links("node", 8, 2)).toEqual([["STRICT", "STRICT"]]);
  const bad = { role: "r", replicas: 1, tasks: [spec(2, { links: "NEAR" as never })] };
  expect(() => specsOf(bad)).toThrow("links must be one of ANY, STRICT; got NEAR");
});
