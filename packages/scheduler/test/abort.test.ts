import { expect, test } from "vitest";
import { MemoryCluster } from "./memory-cluster.ts";

const REASON = new Error("not needed any more");

test("an aborted signal ends every wait with its reason, before anything is done", async () => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  await cluster.run(scheduler.createWorkers({ role: "actor", replicas: 1, tasks: [{ cpu: 1, gpu: 1 }] }));
  const [group] = scheduler.placementGroups("actor");
  const signal = AbortSignal.abort(REASON);
  const asked: (() => Promise<unknown>)[] = [
    () => scheduler.createWorkers({ role: "other", replicas: 1, tasks: [{ cpu: 1 }] }, { signal }),
    () => scheduler.getWorkers("actor", 1_000, { signal }),
    () => scheduler.deleteWorkers("actor", { signal }),
    () => scheduler.forkWorkers("fork", "actor", undefined, { signal }),
    () => scheduler.setWorkerEnv("actor/0", { A: "1" }, { signal }),
    () => scheduler.forkHost("actor/0", { role: "proxy", index: 0 }, { signal }),
    () => scheduler.killForkedHost("actor/0", { role: "proxy", index: 0 }, { signal }),
    () => scheduler.configureWorkers("actor", {}, { signal }),
    () => scheduler.health("actor", 1_000, { signal }),
    () => scheduler.stacks("actor/0", { signal }),
    () => scheduler.clearTensors(undefined, { signal }),
    () => scheduler.getPlacementGroupMasterIpAndPort(group!, 0, { signal }),
  ];
  for (const ask of asked) await expect(cluster.run(ask()), String(ask)).rejects.toBe(REASON);
  expect(cluster.alive()).toHaveLength(1);
  expect(await cluster.run(scheduler.getWorkers("actor"))).toHaveLength(1);
  await cluster.run(scheduler.deleteWorkers());
  expect(cluster.free().devices).toBe(8);
});

test("a delete whose wait was aborted goes on to its end", async () => {
  const cluster = new MemoryCluster();
  const scheduler = cluster.scheduler();
  await cluster.run(scheduler.createWorkers({ role: "actor", replicas: 2, tasks: [{ cpu: 1, gpu: 1 }] }));
  const abort = new AbortController();
  const deleting = scheduler.deleteWorkers("actor", { signal: abort.signal });
  abort.abort(REASON);
  await expect(deleting).rejects.toBe(REASON);
  await cluster.run(scheduler.deleteWorkers());
  expect(cluster.alive()).toHaveLength(0);
  expect(cluster.free().devices).toBe(8);
});
