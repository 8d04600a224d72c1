import { WhiprayError } from "@whipray/core";
import {
  type NodeRoomRow,
  nodeHold,
  nodeRooms,
  type TaskLeaseAsk,
  taskBlocked,
  taskKill,
  taskLease,
  taskRelease,
  taskWaiting,
} from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { VIEW_IDLE_MS } from "../src/cluster-view.ts";
import { TASK_IDLE_MS } from "../src/idle-task-workers.ts";
import { NODE, startedNode, WHOLE } from "./fake-node.ts";

/** A raylet with 8 CPUs and GPUs, and a driver that leases workers for tasks. */
async function withDriver(gpus = 2) {
  const node = await startedNode({ gpus });
  const driver = node.network.endpoint("head/driver_a", "driver");
  const raylet = driver.connect({ to: `${NODE}/raylet`, url: "memory:a", purpose: "control" });
  const ask = (
    leaseId: string,
    units: Record<string, number>,
    more: Partial<TaskLeaseAsk> = {},
    signal?: AbortSignal,
  ) => {
    const fixed = { jobId: "job_a", namespace: "default", bundleIndex: -1, env: {}, isolation: "env" as const };
    return raylet.invoke(taskLease, { leaseId, units, ...fixed, ...more }, { signal });
  };
  const lease = async (...args: Parameters<typeof ask>) => (await ask(...args)).lease!;
  const freeCpus = (): number => (node.raylet.describe().view.free["CPU"] ?? 0) / WHOLE;
  return { ...node, driver, toNode: raylet, ask, lease, freeCpus };
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
    expect(await toNode.invoke(taskWaiting, { leaseId: "lease_2" })).toEqual({
      reason: "busy: 0 CPU free, 8 CPU wanted",
    });
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

  test("that are ended and then given back: nobody gets the worker that is being killed", async () => {
    const { lease, toNode, workers, settled } = await withDriver();
    await lease("lease_1", ALL);
    const next = lease("lease_2", ALL);
    const killed = toNode.invoke(taskKill, { leaseId: "lease_1" });
    const released = toNode.invoke(taskRelease, { leaseId: "lease_1" });
    await Promise.all([killed, released]);
    await settled();
    expect((await next).pid).toBe(workers[1]!.child.pid);
    expect(workers.map(({ child }) => child.running)).toEqual([false, true]);
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

/** A node of another raylet. */
function other(nodeId: string, cpus: { total: number; free: number }, more: Partial<NodeRoomRow> = {}): NodeRoomRow {
  const total = { CPU: cpus.total * WHOLE };
  return { nodeId, url: `memory:${nodeId}`, labels: {}, total, free: { CPU: cpus.free * WHOLE }, devices: [], ...more };
}

/** A raylet whose head tells of these nodes; `down` makes the head silent. */
async function amongOthers(...nodes: NodeRoomRow[]) {
  const all = await withDriver(0);
  const head = { down: false };
  let version = 0;
  const rooms = { nodes };
  all.head.endpoint.serve(nodeRooms, () => {
    if (head.down) throw new WhiprayError({ code: "UNREACHABLE", message: "the head is down" });
    return { version: ++version, nodes: rooms.nodes };
  });
  await all.settled(VIEW_IDLE_MS);
  const headDown = (): void => {
    head.down = true;
  };
  return { ...all, rooms, headDown };
}

describe("a raylet that has no room for a task", () => {
  test("sends its caller to a node that has, once for each place there", async () => {
    const { ask, lease, settled, toNode } = await amongOthers(other("node_b", { total: 8, free: 8 }));
    await lease("lease_1", ALL);
    expect(await ask("lease_2", ALL)).toEqual({ elsewhere: { nodeId: "node_b", url: "memory:node_b", wait: false } });
    const waiting = lease("lease_3", ALL);
    await settled();
    expect(await toNode.invoke(taskWaiting, { leaseId: "lease_3" })).toEqual({
      reason: "busy: 0 CPU free, 8 CPU wanted",
    });
    await toNode.invoke(taskRelease, { leaseId: "lease_1" });
    expect(await waiting).toMatchObject({ pid: expect.any(Number) });
  });

  test("while the head is down sends it to one that may have: that one grants or refuses", async () => {
    const { ask, lease, headDown, settled } = await amongOthers(other("node_b", { total: 8, free: 0 }));
    await lease("lease_1", ALL);
    headDown();
    const waiting = ask("lease_2", ALL);
    await settled(1_000);
    expect(await waiting).toMatchObject({ elsewhere: { nodeId: "node_b", wait: false } });
  });

  test("sends those on that wait already, as soon as the head tells of room", async () => {
    const { ask, lease, rooms, settled } = await amongOthers(other("node_b", { total: 8, free: 0 }));
    await lease("lease_1", ALL);
    const waiting = ask("lease_2", ALL);
    await settled(1_000);
    rooms.nodes = [other("node_b", { total: 8, free: 8 })];
    await settled(1_000);
    expect(await waiting).toMatchObject({ elsewhere: { nodeId: "node_b" } });
  });

  test("and never will: its caller waits at a node that may, or here with the reason until such a node comes", async () => {
    const { ask, rooms, settled, toNode } = await amongOthers(other("node_b", { total: 16, free: 0 }));
    expect(await ask("lease_1", { CPU: 16 * WHOLE })).toMatchObject({ elsewhere: { nodeId: "node_b", wait: true } });
    const waiting = ask("lease_2", { CPU: 32 * WHOLE });
    await settled(1_000);
    expect(await toNode.invoke(taskWaiting, { leaseId: "lease_2" })).toEqual({
      reason: "infeasible: 32 CPU wanted, the largest node has 16 CPU",
    });
    rooms.nodes = [other("node_c", { total: 32, free: 32 })];
    await settled(1_000);
    expect(await waiting).toMatchObject({ elsewhere: { nodeId: "node_c", wait: false } });
  });

  test("refuses who was sent there by an old view", async () => {
    const { ask, lease } = await amongOthers();
    await lease("lease_1", ALL);
    await expect(ask("lease_2", ALL, { passedOn: true })).rejects.toMatchObject({
      code: "NODE_BUSY",
      retryable: true,
      message: expect.stringContaining("0 CPU free, 8 CPU wanted"),
    });
  });
});

describe("a task that names its node", () => {
  test("is sent there and waits there; hard and gone, it is unschedulable; soft, it runs elsewhere", async () => {
    const { ask, lease, settled } = await amongOthers(other("node_b", { total: 8, free: 0 }));
    const one = { CPU: WHOLE };
    expect(await ask("lease_1", one, { nodeId: "node_b" })).toMatchObject({
      elsewhere: { nodeId: "node_b", wait: true },
    });
    const gone = ask("lease_2", one, { nodeId: "node_z" });
    gone.catch(() => {});
    await settled();
    await expect(gone).rejects.toMatchObject({
      name: "TaskUnschedulableError",
      message: /node node_z, which it must run on, is not alive/,
    });
    const small = ask("lease_3", { CPU: 9 * WHOLE }, { nodeId: "node_b" });
    small.catch(() => {});
    await settled();
    await expect(small).rejects.toMatchObject({ code: "UNSCHEDULABLE", message: /too small even when it is empty/ });
    expect(await lease("lease_4", one, { nodeId: "node_z", nodeSoft: true })).toMatchObject({ devices: [] });
  });
});

describe("what is held for a placement group that has waited too long", () => {
  test("is not given to tasks; they pass where there is room beside it, and again when it is held no more", async () => {
    const { lease, head, toRaylet, toNode, settled } = await withDriver();
    const hold = (cpus: number) => {
      const units = cpus === 0 ? {} : { CPU: cpus * WHOLE };
      return toRaylet.invoke(nodeHold, { nodeEpoch: head.epoch, units });
    };
    await hold(6);
    await lease("lease_1", { CPU: 2 * WHOLE });
    const waiting = lease("lease_2", { CPU: WHOLE });
    await settled(1_000);
    expect(await toNode.invoke(taskWaiting, { leaseId: "lease_2" })).toEqual({
      reason: "busy: 6 CPU free, 6 CPU of it kept for a placement group that has waited longer, 1 CPU wanted",
    });
    await hold(0);
    expect(await waiting).toMatchObject({ pid: expect.any(Number) });
  });
});
