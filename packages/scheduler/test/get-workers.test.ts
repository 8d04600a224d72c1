import { expect, test } from "vitest";
import { WorkerFailedError, WorkerNotFoundError, WorkerTimeoutError } from "../src/index.ts";
import { MemoryCluster } from "./memory-cluster.ts";

const SPEC = { cpu: 1, gpu: 1, mem: 1 };
const started = async (onServer: MemoryCluster["onServer"] = () => {}) => {
  const cluster = new MemoryCluster();
  cluster.onServer = onServer;
  const scheduler = cluster.scheduler();
  await cluster.run(scheduler.createWorkers({ role: "a", replicas: 3, tasks: [{ ...SPEC, portCount: 4 }] }));
  return { cluster, scheduler };
};

test("areal 6.7: an unknown role is a WorkerNotFoundError that names the known ones", async () => {
  const { scheduler } = await started();
  await expect(scheduler.getWorkers("b")).rejects.toThrow(WorkerNotFoundError);
  await expect(scheduler.getWorkers("b")).rejects.toThrow("there are a");
});

test("areal 6.7: a dead process fails at once with exit code and last lines, while others still start", async () => {
  const { cluster, scheduler } = await started((server) => {
    server.readyAfterMs = 1_000_000;
  });
  const getting = scheduler.getWorkers("a", 60_000);
  cluster.servers[1]?.end({ message: "exited", exitCode: 7, stderrTail: ["Traceback", "ImportError: torch"] });
  const error = await getting.catch((thrown: unknown) => thrown as WorkerFailedError);
  expect(error).toBeInstanceOf(WorkerFailedError);
  expect(error).toMatchObject({ workerId: "a/1", exitCode: 7, stderr: "Traceback\nImportError: torch" });
  expect(cluster.clock.now()).toBe(0);
});

test("a signal counts as Python counts it", async () => {
  const { cluster, scheduler } = await started();
  cluster.servers[0]?.end({ message: "killed", signal: "SIGKILL" });
  await expect(scheduler.getWorkers("a")).rejects.toMatchObject({ exitCode: -9 });
});

test("areal 6.7: not ready in time is a WorkerTimeoutError with role, time and what it waits for", async () => {
  const { cluster, scheduler } = await started((server) => {
    server.readyAfterMs = 10_000;
  });
  const error = await cluster.run(scheduler.getWorkers("a", 5_000)).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(WorkerTimeoutError);
  expect(error).toMatchObject({ workerKey: "a", timeoutMs: 5_000, message: expect.stringContaining("0.1 GPU short") });
});

test("areal 6.7: workers that come up one after another are waited for, all within one time", async () => {
  let next = 0;
  const { cluster, scheduler } = await started((server) => {
    next += 1_000;
    server.readyAfterMs = next;
  });
  expect(await cluster.run(scheduler.getWorkers("a", 5_000))).toHaveLength(3);
  expect(cluster.clock.now()).toBe(3_000);
});

test("a worker has AReaL's ports by place and ours by name, the same ones at each call", async () => {
  const { cluster, scheduler } = await started();
  const [worker] = await cluster.run(scheduler.getWorkers("a"));
  const [again] = await cluster.run(scheduler.getWorkers("a"));
  expect(worker?.workerPorts).toEqual([
    "0",
    ...[...(worker?.ports["master"] ?? []), ...(worker?.ports["extra"] ?? [])].map(String),
  ]);
  expect(worker?.workerPorts).toHaveLength(4);
  expect(worker?.enginePorts).toEqual([]);
  expect(again).toEqual(worker);
  expect(worker).toMatchObject({ id: "a/0", ip: "10.0.0.1", nodeId: "node_a", devices: [{ index: 0 }] });
});
