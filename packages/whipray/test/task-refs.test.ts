import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Cluster,
  init,
  type ObjectRef,
  RayTaskError,
  TaskCancelledError,
  WorkerCrashedError,
} from "../src/index.ts";
import { processesOf, until } from "./outside.ts";
import type * as tasks from "./sample-tasks.ts";

const SAMPLE = new URL("./sample-tasks.ts", import.meta.url);
let cluster: Cluster;
let folder: string;
const CPUS = 2;

beforeAll(async () => {
  cluster = await init({ numCpus: CPUS, numGpus: 1 });
  folder = mkdtempSync(join(tmpdir(), "whipray-refs-"));
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await cluster.close();
  expect(processesOf(cluster.id)).toEqual([]);
});

describe("numReturns", () => {
  test("each value of the list is an object of its own, the large ones in the store", async () => {
    const pair = cluster.task<typeof tasks.pair>(SAMPLE, "pair").options({ numReturns: 2 });
    const [small, large] = pair.remote(7);
    expect(await cluster.get(small)).toBe(7);
    expect(await cluster.task<typeof tasks.sum>(SAMPLE, "sum")(large)).toBe(350_000);
    large.dispose();
    expect(await cluster.get(small)).toBe(7);
    await expect(cluster.get(large)).rejects.toMatchObject({ name: "ObjectFreedError", code: "OBJECT_FREED" });
    expect((await pair(3))[0]).toBe(3);
  });

  test("another number of values is the error of every ref", async () => {
    const refs = cluster.task<typeof tasks.pair>(SAMPLE, "pair").options({ numReturns: 3 }).remote(1);
    expect(refs.length).toBe(3);
    for (const ref of refs as readonly ObjectRef[])
      await expect(cluster.get(ref)).rejects.toMatchObject({ code: "INVALID_RETURN", message: /returned 2 values/ });
    const square = cluster.task<typeof tasks.square>(SAMPLE, "square");
    expect(() => square.options({ numReturns: 0 })).toThrow(/numReturns must be a whole number from 1 to 10000/);
  });

  test("streaming: a ref for each item; what was made stays readable, the error comes with the next ref", async () => {
    const items = cluster.task<typeof tasks.countAndFail>(SAMPLE, "countAndFail").options({ numReturns: "streaming" });
    const refs: ObjectRef<number>[] = [];
    for await (const ref of items.remote(3)) refs.push(ref);
    expect(refs.length).toBe(4);
    expect(await cluster.get(refs.slice(0, 3))).toEqual([1, 2, 3]);
    await expect(cluster.get(refs[3]!)).rejects.toMatchObject({ remoteName: "RangeError", message: "no more" });
  });

  test("dynamic: one ref of the list of refs", async () => {
    const countTo = cluster.task<typeof tasks.countTo>(SAMPLE, "countTo").options({ numReturns: "dynamic" });
    expect(await cluster.get(await cluster.get(countTo.remote(4)))).toEqual([1, 2, 3, 4]);
  });
});

describe("retryExceptions", () => {
  test("a list names the errors that count", async () => {
    const failing = cluster.task<typeof tasks.failAs>(SAMPLE, "failAs").options({ retryExceptions: ["RangeError"] });
    expect(await failing(join(folder, "range"), 2, "RangeError")).toBe(3);
    await expect(failing(join(folder, "type"), 2, "TypeError")).rejects.toBeInstanceOf(RayTaskError);
    expect(readFileSync(join(folder, "type"), "utf8")).toBe("x");
  });
});

describe("maxCalls", () => {
  test("a process runs the function at most so often, and ends", async () => {
    // All CPUs: one process at a time.
    const place = cluster.task<typeof tasks.place>(SAMPLE, "place", { maxCalls: 2 }).options({ numCpus: CPUS });
    const pids = (await Promise.all(Array.from({ length: 6 }, () => place()))).map(({ pid }) => pid);
    for (const pid of pids) expect(pids.filter((one) => one === pid).length).toBeLessThanOrEqual(2);
    await until("all are gone", () => !processesOf(cluster.id).some((pid) => pids.includes(pid)));
  });
});

describe("cancel", () => {
  test("a task that waits never runs; one that is done stays done", async () => {
    const untilAborted = cluster.task<typeof tasks.untilAborted>(SAMPLE, "untilAborted");
    const mark = join(folder, "never");
    const waiting = untilAborted.options({ numCpus: 50 }).remote(mark);
    cluster.cancel(waiting);
    await expect(cluster.get(waiting)).rejects.toBeInstanceOf(TaskCancelledError);
    expect(existsSync(mark)).toBe(false);
    const done = cluster.task<typeof tasks.square>(SAMPLE, "square").remote(3);
    expect(await cluster.get(done)).toBe(9);
    cluster.cancel(done);
    expect(await cluster.get(done)).toBe(9);
    const put = await cluster.put(1);
    expect(() => cluster.cancel(put)).toThrow(/cancel takes a ref that/);
  });

  test("one that runs is told by its signal; by force its process ends, whatever it does", async () => {
    const mark = join(folder, "told");
    const told = cluster.task<typeof tasks.untilAborted>(SAMPLE, "untilAborted").remote(mark);
    await until("it runs", () => existsSync(mark));
    cluster.cancel(told);
    await expect(cluster.get(told)).rejects.toBeInstanceOf(TaskCancelledError);
    const running = join(folder, "deaf");
    const deaf = cluster.task<typeof tasks.deaf>(SAMPLE, "deaf").remote(running);
    await until("it runs", () => existsSync(running));
    cluster.cancel(deaf, { force: true });
    await expect(cluster.get(deaf)).rejects.toBeInstanceOf(WorkerCrashedError);
    await expect(cluster.get(deaf)).rejects.toMatchObject({ where: { signal: "SIGKILL" } });
    expect(readFileSync(running, "utf8")).toBe("started");
  });

  test("reaches what the task made, unless recursive is false", async () => {
    const parent = cluster.task<typeof tasks.parentOf>(SAMPLE, "parentOf");
    const [child, spared, go] = ["child", "spared", "go"].map((name) => join(folder, name)) as [string, string, string];
    const both = parent.remote(child, go);
    await until("the child runs", () => existsSync(child));
    cluster.cancel(both);
    await expect(cluster.get(both)).rejects.toMatchObject({ code: "CANCELLED" });
    await until("the child was told", () => readFileSync(child, "utf8") === "started aborted");
    const alone = parent.remote(spared, go);
    await until("the child runs", () => existsSync(spared));
    cluster.cancel(alone, { recursive: false });
    await expect(cluster.get(alone)).rejects.toMatchObject({ code: "CANCELLED" });
    writeFileSync(go, "");
    await until("the child is done", () => readFileSync(spared, "utf8") === "started done");
  });
});

describe("what a task knows of itself", () => {
  test("runtime context: ids, name, resources, devices", async () => {
    const context = cluster.task<typeof tasks.context>(SAMPLE, "context");
    const mine = cluster.runtimeContext();
    const here = await context.options({ name: "who", numCpus: 0.5, numGpus: 1 })();
    expect(here).toMatchObject({
      ...{ jobId: cluster.jobId, namespace: cluster.namespace, taskName: "who", nodeId: mine.nodeId },
      ...{ taskId: expect.stringMatching(/^task_/), workerId: expect.stringMatching(/^worker_/) },
      ...{ assignedResources: { CPU: 0.5, GPU: 1 }, acceleratorIds: { GPU: ["0"] } },
    });
    expect((await context()).taskId).not.toBe(here.taskId);
    expect(mine).toMatchObject({ assignedResources: {}, acceleratorIds: {} });
  });

  test("Ray 8.33: with capture on, tasks that a task makes share its group; off or with placement null they do not", async () => {
    const group = await cluster.placementGroup([{ CPU: 1 }]);
    await group.ready();
    const groups = cluster.task<typeof tasks.groups>(SAMPLE, "groups");
    const inside = groups.options({ placement: group.bundle(0), captureChildTasks: true, numCpus: 0.5 });
    expect(await inside()).toEqual([group.id, group.id, null]);
    expect(await groups.options({ placement: group.bundle(0), numCpus: 0.5 })()).toEqual([group.id, null, null]);
    await cluster.removePlacementGroup(group);
  });
});

describe("the state API", () => {
  test("lists tasks with filters: running, finished, failed with the error", async () => {
    const mark = join(folder, "listed");
    const running = cluster
      .task<typeof tasks.untilAborted>(SAMPLE, "untilAborted")
      .options({ name: "patient" })
      .remote(mark);
    await until("it runs", () => existsSync(mark));
    await cluster
      .task<typeof tasks.fail>(SAMPLE, "fail")
      .options({ name: "loser" })("bad luck")
      .catch(() => {});
    await cluster.task<typeof tasks.square>(SAMPLE, "square").options({ name: "winner" })(2);
    const [patient] = await cluster.listTasks({ filters: { name: "patient" } });
    expect(patient).toMatchObject({ state: "RUNNING", jobId: cluster.jobId, attempt: 0 });
    expect(await cluster.listTasks({ filters: { state: "FAILED", name: "loser" } })).toMatchObject([
      { error: "TASK_FAILED: bad luck", nodeId: patient!.nodeId },
    ]);
    expect(await cluster.listTasks({ filters: { name: "winner" } })).toMatchObject([{ state: "FINISHED" }]);
    expect((await cluster.listTasks({ limit: 1 })).length).toBe(1);
    cluster.cancel(running);
    await expect(cluster.get(running)).rejects.toMatchObject({ code: "CANCELLED" });
    expect(await cluster.listTasks({ filters: { taskId: patient!.taskId } })).toMatchObject([{ state: "FAILED" }]);
  });

  test("a task that another one made names it; groups and actors are filtered too", async () => {
    await cluster.task<typeof tasks.depth>(SAMPLE, "depth")(1);
    await until("the child was told of", async () => {
      const all = await cluster.listTasks({ filters: { name: "depth", state: "FINISHED" } });
      return all.some((one) => all.some(({ taskId }) => taskId === one.parentTaskId));
    });
    const group = await cluster.placementGroup([{ CPU: 1 }], { name: "listed" });
    await group.ready();
    expect(await cluster.listPlacementGroups({ filters: { name: "listed" } })).toMatchObject([{ state: "CREATED" }]);
    expect(await cluster.listPlacementGroups({ filters: { name: "other" } })).toEqual([]);
    await cluster.removePlacementGroup(group);
    expect(await cluster.listActors({ filters: { state: "ALIVE" } })).toEqual([]);
  });
});

describe("a group that has waited too long", () => {
  test("starts under a stream of short tasks: what frees up is kept for it", async () => {
    const sleep = cluster.task<typeof tasks.sleep>(SAMPLE, "sleep");
    const over = new AbortController();
    const stream = Array.from({ length: 4 }, async () => {
      while (!over.signal.aborted) await sleep(200);
    });
    const group = await cluster.placementGroup([{ CPU: 1 }, { CPU: 1 }], { strategy: "STRICT_PACK" });
    await group.ready({ timeoutMs: 30_000 });
    over.abort();
    await cluster.removePlacementGroup(group);
    await Promise.all(stream);
  });
});
