import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cluster, init, RayTaskError, WorkerCrashedError } from "../src/index.ts";
import { processesOf, until } from "./outside.ts";
import type * as tasks from "./sample-tasks.ts";

const SAMPLE = new URL("./sample-tasks.ts", import.meta.url);

describe("tasks", () => {
  let cluster: Cluster;
  let folder: string;
  beforeAll(async () => {
    cluster = await init({ numCpus: 2, numGpus: 1 });
    folder = mkdtempSync(join(tmpdir(), "whipray-tasks-"));
  });
  afterAll(async () => {
    rmSync(folder, { recursive: true, force: true });
    await cluster.close();
    expect(processesOf(cluster.id)).toEqual([]);
  });

  test("a function runs elsewhere: result, ref, error", async () => {
    const square = cluster.task<typeof tasks.square>(SAMPLE, "square");
    expect(await square(4)).toBe(16);
    expect(await cluster.get(square.remote(5))).toBe(25);
    const error = await cluster
      .task<typeof tasks.fail>(
        SAMPLE,
        "fail",
      )("too far")
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RayTaskError);
    expect(error).toMatchObject({ remoteName: "RangeError", message: "too far" });
    const place = await cluster.task<typeof tasks.place>(SAMPLE, "place")();
    expect(place.pid).not.toBe(process.pid);
    expect(place.method).toBe(true);
  });

  test("refs as arguments are values; large values go through the store", async () => {
    const square = cluster.task<typeof tasks.square>(SAMPLE, "square");
    const sum = cluster.task<typeof tasks.sum>(SAMPLE, "sum");
    const ones = cluster.task<typeof tasks.ones>(SAMPLE, "ones");
    expect(await square(square.remote(3))).toBe(81);
    expect((await ones(100_000)).length).toBe(100_000);
    expect(await sum(ones.remote(100_000))).toBe(100_000);
    expect(await sum(new Float64Array(50_000).fill(2))).toBe(100_000);
  });

  test("a generator's items are read as they come", async () => {
    const countTo = cluster.task<typeof tasks.countTo>(SAMPLE, "countTo");
    const seen: number[] = [];
    for await (const n of countTo(5)) seen.push(n);
    expect(seen).toEqual([1, 2, 3, 4, 5]);
    for await (const n of countTo(1_000_000)) if (n === 3) break;
    expect(await cluster.task<typeof tasks.square>(SAMPLE, "square")(2)).toBe(4);
  });

  test("200 tasks at once all run, in the same few processes", async () => {
    const square = cluster.task<typeof tasks.square>(SAMPLE, "square");
    const results = await Promise.all(Array.from({ length: 200 }, (_, i) => square(i)));
    expect(results).toEqual(Array.from({ length: 200 }, (_, i) => i * i));
    const place = cluster.task<typeof tasks.place>(SAMPLE, "place");
    const pids = new Set((await Promise.all(Array.from({ length: 50 }, () => place()))).map(({ pid }) => pid));
    expect(pids.size).toBeLessThanOrEqual(2);
  });

  test("two long tasks run beside each other on two CPUs", async () => {
    const sleep = cluster.task<typeof tasks.sleep>(SAMPLE, "sleep");
    const pids = await Promise.all([sleep(1_500), sleep(1_500)]);
    expect(new Set(pids).size).toBe(2);
  });

  test("another environment is another process", async () => {
    const place = cluster.task<typeof tasks.place>(SAMPLE, "place");
    const plain = await place();
    const sour = place.options({ env: { FLAVOUR: "sour" } });
    const [first, second] = [await sour(), await sour()];
    expect([plain.flavour, first.flavour, second.flavour]).toEqual(["plain", "sour", "sour"]);
    expect(first.pid).not.toBe(plain.pid);
    expect(second.pid).toBe(first.pid);
  });

  test("an actor can be made and asked from a task", async () => {
    expect(await cluster.task<typeof tasks.askActor>(SAMPLE, "askActor")(41)).toBe(42);
  });

  test("a worker that dies: WorkerCrashedError with its last words, or another run with maxRetries", async () => {
    const die = cluster.task<typeof tasks.dieUntil>(SAMPLE, "dieUntil");
    const once = join(folder, "once");
    const error = await die
      .options({ maxRetries: 0 })(once, 1)
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(WorkerCrashedError);
    expect(error).toMatchObject({ where: { signal: "SIGKILL" } });
    expect((error as Error).message).toContain("last words of a task");
    expect(readFileSync(once, "utf8")).toBe("x");
    expect(await die.options({ maxRetries: 1 })(join(folder, "twice"), 1)).toBe("run 2");
  });

  test("errors are thrown once, or retried with retryExceptions", async () => {
    const failing = cluster.task<typeof tasks.failUntil>(SAMPLE, "failUntil");
    await expect(failing(join(folder, "plain"), 1)).rejects.toThrow("not yet");
    expect(readFileSync(join(folder, "plain"), "utf8")).toBe("x");
    expect(await failing.options({ retryExceptions: true })(join(folder, "again"), 2)).toBe(3);
  });

  test("a task that waits for room can be cancelled, or run out of time with the reason", async () => {
    const dieUntil = cluster.task<typeof tasks.dieUntil>(SAMPLE, "dieUntil");
    const abort = new AbortController();
    const waiting = dieUntil.options({ numCpus: 50, signal: abort.signal })(join(folder, "never"), 0);
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: "CANCELLED" });
    const late = dieUntil.options({ numCpus: 50, timeoutMs: 1_500 })(join(folder, "never"), 0);
    await expect(late).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
      message: /infeasible: 50 CPU wanted, the largest node has 2 CPU/,
    });
    expect(existsSync(join(folder, "never"))).toBe(false);
  });

  test("cancelling a task that runs aborts its signal", async () => {
    const abort = new AbortController();
    const mark = join(folder, "cancelled");
    const patient = cluster.task<typeof tasks.untilAborted>(SAMPLE, "untilAborted");
    const running = expect(patient.options({ signal: abort.signal })(mark)).rejects.toMatchObject({
      code: "CANCELLED",
    });
    await until("it runs", () => existsSync(mark));
    abort.abort();
    await running;
    await until("it was told", () => readFileSync(mark, "utf8") === "started aborted");
  });

  test("a task with a GPU sees its own, and gives it back with its process", async () => {
    const place = cluster.task<typeof tasks.place>(SAMPLE, "place").options({ numGpus: 1 });
    const { pid } = await place();
    await until("the GPU is free again", async () => (await cluster.availableResources())["GPU"] === 1);
    expect(processesOf(cluster.id)).not.toContain(pid);
  });

  test("in a bundle of a placement group; removing the group ends it", async () => {
    const group = await cluster.placementGroup([{ CPU: 1 }]);
    await group.ready();
    const sleep = cluster.task<typeof tasks.sleep>(SAMPLE, "sleep").options({ placement: group.bundle(0) });
    expect(await sleep(1)).toBeGreaterThan(0);
    const long = sleep(60_000);
    const ended = expect(long).rejects.toMatchObject({ code: /PLACEMENT_GROUP_REMOVED|WORKER_CRASHED/ });
    await cluster.removePlacementGroup(group);
    await ended;
    await until("all CPUs are free again", async () => (await cluster.availableResources())["CPU"] === 2);
  });

  test("options that are none are refused", () => {
    const square = cluster.task<typeof tasks.square>(SAMPLE, "square");
    const more = { numCpu: 1 } as object;
    expect(() => square.options(more)).toThrow(/numCpu is no option of a task; valid are .*numCpus/);
    expect(() => square.options({ maxRetries: -2 })).toThrow(/maxRetries/);
  });
});

describe("tasks on one CPU", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await init({ numCpus: 1 });
  });
  afterAll(() => cluster.close());

  test("may wait for tasks of their own, five deep", async () => {
    expect(await cluster.task<typeof tasks.depth>(SAMPLE, "depth")(5)).toBe(5);
    expect(await cluster.task<typeof tasks.depthByRef>(SAMPLE, "depthByRef")(5)).toBe(5);
    await until("the CPU is free again", async () => (await cluster.availableResources())["CPU"] === 1);
  });

  test("end with their driver", async () => {
    const sleep = cluster.task<typeof tasks.sleep>(SAMPLE, "sleep");
    const pid = await sleep(1);
    expect(processesOf(cluster.id)).toContain(pid);
    const { id } = cluster;
    sleep(60_000).catch(() => {});
    await cluster.close();
    expect(processesOf(id)).toEqual([]);
  });
});
