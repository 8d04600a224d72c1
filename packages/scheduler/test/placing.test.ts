import { type Logger, silentLogger } from "@whipray/core";
import { expect, test } from "vitest";
import { type RoleWait, WorkerCreationError } from "../src/index.ts";
import { MemoryCluster } from "./memory-cluster.ts";

const GPU16 = { cpu: 1, gpu: 16, mem: 1, rayPlacementStrategy: "deferred" } as const;
const small = () => new MemoryCluster([{ nodeId: "node_a", ip: "10.0.0.1", cpus: 64, devices: 2 }]);

test("what no node can ever hold fails at once where no node can join, and nothing is left", async () => {
  const cluster = small();
  const scheduler = cluster.scheduler({ nGpusPerNode: 16, nodesMayJoin: false });
  const error = await cluster
    .run(scheduler.createWorkers({ role: "a", replicas: 1, tasks: [GPU16] }))
    .catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(WorkerCreationError);
  expect((error as Error).message).toContain("the cluster can never hold it; bundle 0: 1 GPU short");
  expect(cluster.clock.now()).toBe(0);
  expect(cluster.groups.every((group) => group.removed)).toBe(true);
});

test("where nodes may join it waits for its time; listener, logger and the error at the end are told what for", async () => {
  const cluster = small();
  const told: unknown[] = [];
  const waits: RoleWait[] = [];
  const logger: Logger = { ...silentLogger, warn: (...words) => void told.push(words) };
  const scheduler = cluster.scheduler({
    nGpusPerNode: 16,
    startupTimeoutMs: 25_000,
    logger,
    onWaiting: (wait) => void waits.push(wait),
  });
  const creating = scheduler.createWorkers({ role: "a", replicas: 1, tasks: [GPU16] });
  await expect(cluster.run(creating)).rejects.toThrow("1 GPU short");
  expect(cluster.clock.now()).toBe(25_000);
  const words = ["a role waits for its place", { role: "a", reasons: "bundle 0: 1 GPU short" }];
  expect(told).toEqual([words, words, words]);
  expect(waits.map(({ waitedMs }) => waitedMs)).toEqual([1_000, 11_000, 21_000]);
  expect(waits[0]).toMatchObject({
    ...{ role: "a", timeoutMs: 25_000, text: "bundle 0: 1 GPU short" },
    reasons: [{ bundle: 0, kind: "infeasible", text: "1 GPU short" }],
  });
});

test("a listener that throws ends the wait with its error, and nothing is left", async () => {
  const cluster = small();
  const onWaiting = (): void => {
    throw new Error("not today");
  };
  const creating = cluster
    .scheduler({ nGpusPerNode: 16, onWaiting })
    .createWorkers({ role: "a", replicas: 1, tasks: [GPU16] });
  await expect(cluster.run(creating)).rejects.toThrow("not today");
  expect(cluster.groups.every((group) => group.removed)).toBe(true);
});

test("what is only busy waits, also where no node can join", async () => {
  const cluster = small();
  const scheduler = cluster.scheduler({ startupTimeoutMs: 500, nodesMayJoin: false });
  const creating = scheduler.createWorkers({ role: "a", replicas: 3, tasks: [{ cpu: 1, gpu: 1, mem: 1 }] });
  await expect(cluster.run(creating)).rejects.toThrow("PENDING after 500 ms");
  expect(cluster.clock.now()).toBe(500);
});
