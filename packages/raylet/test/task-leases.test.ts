import { taskBlocked, taskLease, taskRelease, taskWaiting } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { TASK_IDLE_MS } from "../src/idle-task-workers.ts";
import { NODE, startedNode, WHOLE } from "./fake-node.ts";

/** A raylet with 8 CPUs and 2 GPUs, and a driver that leases workers for tasks. */
async function withDriver() {
  const node = await startedNode();
  const driver = node.network.endpoint("head/driver_a", "driver");
  const raylet = driver.connect({ to: `${NODE}/raylet`, url: "memory:a", purpose: "control" });
  const lease = (
    leaseId: string,
    units: Record<string, number>,
    more: { jobId?: string } = {},
    signal?: AbortSignal,
  ) => {
    const fixed = { jobId: "job_a", namespace: "default", bundleIndex: -1, env: {}, isolation: "env" as const };
    return raylet.invoke(taskLease, { leaseId, units, ...fixed, ...more }, { signal });
  };
  const freeCpus = (): number => (node.raylet.describe().view.free["CPU"] ?? 0) / WHOLE;
  return { ...node, driver, toNode: raylet, lease, freeCpus };
}

const ALL = { CPU: 8 * WHOLE };

describe("leases of workers for tasks", () => {
  test("say where the worker is; the same request again gets the same one", async () => {
    const { lease, workers, freeCpus } = await withDriver();
    const first = await lease("lease_1", { CPU: WHOLE });
    expect(first).toMatchObject({
      address: `${NODE}/${workers[0]!.workerId}`,
      pid: workers[0]!.child.pid,
      devices: [],
    });
    expect(await lease("lease_1", { CPU: WHOLE })).toEqual(first);
    expect(workers[0]!.tasksOf).toMatchObject([{ jobId: "job_a", head: "memory:head" }]);
    expect(freeCpus()).toBe(7);
  });

  test("wait with a reason for room, and a worker is reused for its own job alone", async () => {
    const { lease, toNode, workers, settled } = await withDriver();
    const first = await lease("lease_1", ALL);
    const second = lease("lease_2", ALL);
    const other = lease("lease_3", ALL, { jobId: "job_b" });
    await settled();
    expect(await toNode.invoke(taskWaiting, { leaseId: "lease_2" })).toEqual({ reason: "0 CPU free, 8 CPU wanted" });
    await toNode.invoke(taskRelease, { leaseId: "lease_1" });
    expect((await second).pid).toBe(first.pid);
    await toNode.invoke(taskRelease, { leaseId: "lease_2" });
    expect((await other).pid).not.toBe(first.pid);
    expect(workers.length).toBe(2);
  });

  test("an idle worker ends after a while; one with devices at once", async () => {
    const { lease, toNode, workers, settled, raylet } = await withDriver();
    await lease("lease_1", { CPU: WHOLE });
    await toNode.invoke(taskRelease, { leaseId: "lease_1" });
    await settled(TASK_IDLE_MS - 1_000);
    expect(workers[0]!.child.running).toBe(true);
    await settled(1_000);
    expect(workers[0]!.child.running).toBe(false);
    expect(await lease("lease_2", { GPU: WHOLE })).toMatchObject({ devices: [{ uuid: "gpu-0" }] });
    await toNode.invoke(taskRelease, { leaseId: "lease_2" });
    await settled();
    expect(workers[1]!.child.running).toBe(false);
    expect(raylet.describe().view.devices).toEqual({ "gpu-0": WHOLE, "gpu-1": WHOLE });
  });

  test("end with their caller: workers are killed, requests forgotten, everything is free", async () => {
    const { lease, driver, toNode, workers, settled, freeCpus, raylet } = await withDriver();
    await lease("lease_1", { CPU: 4 * WHOLE });
    await lease("lease_2", { CPU: 4 * WHOLE });
    await toNode.invoke(taskRelease, { leaseId: "lease_2" });
    const waiting = lease("lease_3", { CPU: 5 * WHOLE });
    waiting.catch(() => {});
    await settled();
    await driver.close();
    await settled();
    expect(workers.map(({ child }) => child.running)).toEqual([false, false]);
    expect(freeCpus()).toBe(8);
    expect(raylet.counts.workers).toBe(0);
  });

  test("end with their worker", async () => {
    const { lease, workers, settled, freeCpus } = await withDriver();
    await lease("lease_1", ALL);
    const next = lease("lease_2", ALL);
    workers[0]!.child.exit({ code: null, signal: "SIGSEGV" });
    await settled();
    expect((await next).pid).toBe(workers[1]!.child.pid);
    expect(freeCpus()).toBe(0);
  });

  test("that are withdrawn are never granted", async () => {
    const { lease, toNode, workers, settled, freeCpus } = await withDriver();
    await lease("lease_1", ALL);
    const abort = new AbortController();
    const waiting = expect(lease("lease_2", ALL, {}, abort.signal)).rejects.toThrow();
    await settled();
    abort.abort();
    await waiting;
    await toNode.invoke(taskRelease, { leaseId: "lease_1" });
    await settled();
    expect([workers.length, freeCpus()]).toEqual([1, 8]);
  });

  test("of a worker whose task waits for others lend their CPUs", async () => {
    const { lease, workers, settled, freeCpus } = await withDriver();
    await lease("lease_1", ALL);
    const nested = lease("lease_2", ALL);
    await settled();
    expect(workers.length).toBe(1);
    await workers[0]!.toRaylet.invoke(taskBlocked, { blocked: true });
    expect((await nested).pid).toBe(workers[1]!.child.pid);
    await workers[0]!.toRaylet.invoke(taskBlocked, { blocked: false });
    expect(freeCpus()).toBe(0);
    workers[1]!.child.exit({ code: 0, signal: null });
    workers[0]!.child.exit({ code: 0, signal: null });
    await settled();
    expect(freeCpus()).toBe(8);
  });
});
