import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cluster, init } from "whipray";
import { RayScheduler, WorkerCreationError, WorkerFailedError } from "../src/index.ts";

const PYTHONPATH = fileURLToPath(new URL("./engines/", import.meta.url));
const SPEC = { cpu: 1, gpu: 1, mem: 0.1, envVars: { PYTHONPATH } };
const marks = mkdtempSync(join(tmpdir(), "ws-"));
let cluster: Cluster;

beforeAll(async () => {
  cluster = await init({ numCpus: 8, numGpus: 3 });
}, 60_000);
afterAll(async () => {
  await cluster.close();
  rmSync(marks, { recursive: true });
}, 60_000);

/** Waits for what the cluster reaches by itself. */
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 10_000;
  while (!(await holds()) && Date.now() < end) await sleep(20);
  expect(await holds()).toBe(true);
}

const gone = (pid: number): Promise<void> => until(() => !existsSync(`/proc/${pid}`));
const freeGpus = async (): Promise<number | undefined> => (await cluster.availableResources())["GPU"];

test("two experiments share a cluster under the same role names; the cluster outlives its schedulers", async () => {
  {
    await using first = new RayScheduler({ cluster, experimentName: "e1", trialName: "t" });
    await using second = new RayScheduler({ cluster, experimentName: "e2", trialName: "t" });
    await first.createWorkers({ role: "actor", replicas: 1, tasks: [SPEC] });
    await second.createWorkers({ role: "actor", replicas: 1, tasks: [SPEC] });
    await Promise.all([first.getWorkers("actor"), second.getWorkers("actor")]);
    const names = (await cluster.listActors()).map((actor) => actor.name);
    expect(names.sort()).toEqual(["e1.t.actor.0", "e2.t.actor.0"]);
  }
  await until(async () => (await freeGpus()) === 3);
  expect((await cluster.placementGroupTable()).filter((group) => group.state !== "REMOVED")).toEqual([]);
});

test("areal 6.26: schedulers without names work; the second one of a namespace is told to take a name, and leaves nothing", async () => {
  {
    await using first = new RayScheduler({ cluster });
    await using second = new RayScheduler({ cluster });
    const job = { role: "actor", replicas: 1, tasks: [SPEC] };
    expect(await first.createWorkers(job)).toEqual(["actor/0"]);
    await expect(second.createWorkers(job)).rejects.toThrow("give each an experimentName");
    await first.getWorkers("actor");
    expect(await freeGpus()).toBe(2);
  }
  await until(async () => (await freeGpus()) === 3);
});

test("SIGKILL of an RPC server takes its engine along; callers hear of the signal", async () => {
  await using scheduler = new RayScheduler({ cluster });
  await scheduler.createWorkers({ role: "actor", replicas: 1, tasks: [SPEC] });
  await scheduler.createEngine("actor/0", "toy_engines.Toy");
  const enginePid = (await scheduler.callEngine("actor/0", "pid")) as number;
  const server = (await cluster.listActors()).find((actor) => actor.name === "actor.0" && actor.state === "ALIVE");
  const mark = join(marks, "killed");
  const pending = scheduler.callEngine("actor/0", "sleep", { args: [60, mark] }).catch((error: unknown) => error);
  await until(() => existsSync(mark));
  process.kill(server!.pid!, "SIGKILL");
  expect(await pending).toMatchObject({ name: "WorkerFailedError", workerId: "actor/0", exitCode: -9 });
  await expect(scheduler.callEngine("actor/0", "pid")).rejects.toThrow(WorkerFailedError);
  await expect(scheduler.getWorkers("actor")).rejects.toThrow(WorkerFailedError);
  await gone(enginePid);
});

test("a role that finds no room fails in its time with what is missing, and leaves nothing", async () => {
  await using scheduler = new RayScheduler({ cluster, startupTimeoutMs: 500 });
  const job = { role: "actor", replicas: 4, tasks: [SPEC] };
  const error = await scheduler.createWorkers(job).catch((thrown: unknown) => thrown as WorkerCreationError);
  expect(error).toBeInstanceOf(WorkerCreationError);
  expect((error as Error).message).toContain("GPU");
  await until(async () => (await freeGpus()) === 3);
});

test("grouped colocation: one worker sees the devices of two others, in the interpreter's start environment", async () => {
  await using scheduler = new RayScheduler({ cluster });
  await scheduler.createWorkers({ role: "actor", replicas: 2, tasks: [SPEC] });
  const targets = await scheduler.getWorkers("actor");
  const colocation = { type: "colocation", target: "actor" } as const;
  await scheduler.createWorkers({
    role: "server",
    replicas: 1,
    tasks: [{ ...SPEC, cpu: 0, mem: 0, gpu: 2 }],
    schedulingStrategy: colocation,
  });
  await Promise.all(["actor/0", "actor/1", "server/0"].map((id) => scheduler.createEngine(id, "toy_engines.Toy")));
  const shown = await Promise.all(
    ["actor/0", "actor/1", "server/0"].map(
      async (id) => ((await scheduler.callEngine(id, "exec_env", { args: ["CUDA_VISIBLE_DEVICES"] })) as string[])[0],
    ),
  );
  expect(targets).toHaveLength(2);
  expect(shown[2]).toBe(`${shown[0]},${shown[1]}`);
});

test("areal 6.9: a forked sibling runs a module of its own in the place of the host, and ends with its role", async () => {
  await using scheduler = new RayScheduler({ cluster });
  await scheduler.createWorkers({
    role: "rollout",
    replicas: 1,
    tasks: [{ ...SPEC, rayPlacementStrategy: "separate" }],
  });
  await expect(
    scheduler.createWorkers({
      role: "eval",
      replicas: 1,
      tasks: [{ ...SPEC, cpu: 0, mem: 0 }],
      schedulingStrategy: { type: "colocation", target: "rollout" },
    }),
  ).rejects.toThrow(/the 0\.9 rule/);
  await scheduler.forkWorkers("proxy", "rollout", "toy_host");
  await scheduler.createEngine("proxy/0", "toy_engines.Toy");
  expect(await scheduler.callEngine("proxy/0", "env", { args: ["TOY_HOST"] })).toEqual(["1"]);
  const pid = (await scheduler.callEngine("proxy/0", "pid")) as number;
  await scheduler.deleteWorkers("rollout");
  await gone(pid);
});

test("a cancel reaches a running engine method, which ends the call", async () => {
  await using scheduler = new RayScheduler({ cluster });
  await scheduler.createWorkers({ role: "actor", replicas: 1, tasks: [{ ...SPEC, gpu: 0 }] });
  await scheduler.createEngine("actor/0", "toy_engines.Toy");
  const abort = new AbortController();
  const mark = join(marks, "cancelled");
  const options = { args: [60, mark], rpcMeta: { interrupt: true }, signal: abort.signal };
  const pending = scheduler.callEngine("actor/0", "sleep", options).catch((error: unknown) => error);
  await until(() => existsSync(mark));
  abort.abort();
  expect(await pending).toMatchObject({ code: "CANCELLED" });
  expect(await scheduler.callEngine("actor/0", "add", { args: [1, 2] })).toBe(3);
});
