import { WhiprayError, WorkerCrashedError } from "@whipray/core";
import { beforeEach, expect, test } from "vitest";
import type { ClusterScheduler } from "../src/index.ts";
import { describeHealth, type WorkerHealth } from "../src/worker-health.ts";
import { MemoryCluster } from "./memory-cluster.ts";
import { engineClasses } from "./memory-engine.ts";

let cluster: MemoryCluster;
let scheduler: ClusterScheduler;

beforeEach(async () => {
  engineClasses.set("my.Engine", () => ({
    train_batch: () => new Promise(() => {}),
    boom: () => {
      throw new Error("boom");
    },
  }));
  cluster = new MemoryCluster();
  scheduler = cluster.scheduler();
  await cluster.run(scheduler.createWorkers({ role: "actor", replicas: 4, tasks: [{ cpu: 1, gpu: 1, mem: 1 }] }));
  for (let rank = 0; rank < 4; rank++) await cluster.run(scheduler.createEngine(`actor/${rank}`, "my.Engine"));
  const engine = (rank: number) => cluster.serverOf(`actor/${rank}`).engine!;
  engine(0).health = async () => ({
    busy: true,
    method: "train_batch",
    sinceMs: 12_340,
    queued: 1,
    engines: ["actor/0"],
  });
  engine(2).health = async () => {
    throw new WhiprayError({ code: "DEADLINE_EXCEEDED", message: "the GIL is held" });
  };
  engine(3).death = new WorkerCrashedError({ message: "ended", where: { exitCode: 3 } });
});

test("the health of a role is one row a rank, whatever became of it", async () => {
  const all = await cluster.run(scheduler.health("actor"));
  expect(all).toMatchObject([
    { workerId: "actor/0", status: "healthy", busy: true, method: "train_batch", sinceMs: 12_340, queued: 1 },
    { workerId: "actor/1", status: "healthy", busy: false, engines: ["actor/1"] },
    { workerId: "actor/2", status: "healthy", busy: true },
    { workerId: "actor/3", status: "dead", error: { name: "WorkerFailedError", exitCode: 3 } },
  ]);
  cluster.serverOf("actor/1").call = async () => {
    throw new WhiprayError({ code: "UNREACHABLE", message: "no way", retryable: true });
  };
  expect((await scheduler.health("actor"))[1]).toMatchObject({ status: "unreached", error: { code: "UNREACHABLE" } });
  await expect(scheduler.health("nobody")).rejects.toMatchObject({ code: "WORKER_NOT_FOUND" });
});

test("a call that takes too long says what the ranks of its role do, any other error does not ask them", async () => {
  const late = cluster.run(scheduler.callEngine("actor/0", "train_batch", { timeoutMs: 50 }));
  await expect(late).rejects.toMatchObject({
    name: "EngineCallError",
    details: { code: "DEADLINE_EXCEEDED" },
    reason:
      "did not end within 50 ms; in train_batch: actor/0 (12.3 s); idle: actor/1; busy without an answer: actor/2; dead: actor/3",
  });
  for (const server of cluster.servers) server.asked.length = 0;
  await expect(cluster.run(scheduler.callEngine("actor/1", "boom"))).rejects.toMatchObject({ reason: "boom" });
  expect(cluster.servers.flatMap((server) => server.asked)).toEqual([]);
});

test("a report of many ranks names eight of a kind", () => {
  const idle = (rank: number): WorkerHealth => ({ workerId: `a/${rank}`, status: "healthy", busy: false, engines: [] });
  expect(describeHealth(Array.from({ length: 20 }, (_, rank) => idle(rank)))).toBe(
    "idle: a/0, a/1, a/2, a/3, a/4, a/5, a/6, a/7 and 12 more",
  );
});
