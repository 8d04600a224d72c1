import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LocalScheduler, type Worker, WorkerFailedError } from "../src/index.ts";

const PYTHONPATH = fileURLToPath(new URL("./engines/", import.meta.url));
/** Every engine of this file has it in its environment, and what these start inherits it. */
const TOY_MARK = `local-${process.pid}`;
const SPEC = { cpu: 1, gpu: 1, mem: 0.1, envVars: { PYTHONPATH, TOY_MARK, CUSTOM: "a=1,b", OMP_NUM_THREADS: "3" } };
let scheduler: LocalScheduler;
let workers: Worker[];
const call = (worker: string, method: string, ...args: unknown[]) => scheduler.callEngine(worker, method, { args });

function enginesLeft(): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, "utf8").includes(`TOY_MARK=${TOY_MARK}`);
    } catch {
      return false;
    }
  });
}

beforeAll(async () => {
  scheduler = new LocalScheduler({ numCpus: 8, numGpus: 2, startupTimeoutMs: 60_000 });
  expect(await scheduler.createWorkers({ role: "actor", replicas: 2, tasks: [SPEC] })).toEqual(["actor/0", "actor/1"]);
  workers = await scheduler.getWorkers("actor");
  await Promise.all(
    workers.map(async ({ id }, rank) => {
      await scheduler.setWorkerEnv(id, { RANK: String(rank) });
      await scheduler.createEngine(id, "toy_engines.Toy", { kwargs: { scale: rank + 1 } });
    }),
  );
}, 90_000);

afterAll(async () => {
  await scheduler[Symbol.asyncDispose]();
  expect(enginesLeft()).toEqual([]);
}, 60_000);

test("areal 6.1: workers have addresses, ports below the ephemeral range and one device each, in order", () => {
  expect(workers.map((worker) => [worker.id, worker.ip, worker.devices[0]?.index])).toEqual([
    ["actor/0", "127.0.0.1", 0],
    ["actor/1", "127.0.0.1", 1],
  ]);
  const ports = workers.map((worker) => Number(worker.workerPorts[1]));
  const ephemeral = Number(/\d+/.exec(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8"))?.[0]);
  for (const port of ports) {
    expect(port).toBeGreaterThanOrEqual(10_000);
    expect(port).toBeLessThan(ephemeral);
  }
  expect(new Set(ports).size).toBe(2);
});

test("calls of all ranks at the same time", async () => {
  expect(await Promise.all([call("actor/0", "add", 1, 2), call("actor/1", "add", 1, 2)])).toEqual([3, 6]);
});

test("areal 6.13: the environment is in the interpreter's start: setWorkerEnv, spec, devices; the user's thread variables win", async () => {
  const names = ["RANK", "CUSTOM", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"];
  const [first, second] = (await Promise.all([
    call("actor/0", "exec_env", ...names),
    call("actor/1", "exec_env", ...names),
  ])) as string[][];
  expect(first?.slice(0, 3)).toEqual(["0", "a=1,b", "3"]);
  expect(second?.slice(0, 3)).toEqual(["1", "a=1,b", "3"]);
  expect(first?.[3]).toBeTruthy();
  expect(second?.[3]).not.toBe(first?.[3]);
  expect(await scheduler.setWorkerEnv("actor/0", { LATE: "1" })).toEqual({ appliedLate: true });
  expect(await call("actor/0", "env", "LATE")).toEqual(["1"]);
  await expect(scheduler.setWorkerEnv("actor/0", { CUDA_VISIBLE_DEVICES: "7" })).rejects.toMatchObject({
    code: "INVALID_ENV",
  });
});

test("areal 6.15 and 6.16: a failed import, a constructor that raises, a method that raises once", async () => {
  await expect(scheduler.createEngine("actor/0", "no_such.Engine", { engineName: "n" })).rejects.toMatchObject({
    name: "EngineImportError",
    importPath: "no_such.Engine",
  });
  await expect(scheduler.createEngine("actor/0", "toy_engines.Broken", { engineName: "b" })).rejects.toMatchObject({
    statusCode: 500,
    message: expect.stringContaining("no weights at /models"),
  });
  const before = (await call("actor/0", "how_often")) as number;
  const error = (await call("actor/0", "boom").catch((thrown: unknown) => thrown)) as Error;
  expect(error).toMatchObject({
    name: "EngineCallError",
    attempt: 1,
    message: expect.stringContaining("ValueError: lr must be positive"),
  });
  expect(error.cause).toMatchObject({
    remoteName: "ValueError",
    remoteStack: expect.stringContaining("toy_engines.py"),
  });
  expect(await call("actor/0", "how_often")).toBe(before + 1);
});

test("items stream from Python to the controller; a reader may leave", async () => {
  const items: unknown[] = [];
  for await (const item of scheduler.streamEngine("actor/1", "count", { args: [100] })) items.push(item);
  expect(items).toHaveLength(100);
  for await (const item of scheduler.streamEngine("actor/1", "count", { args: [1_000_000] })) if (item === 5) break;
  expect(await call("actor/1", "add", 1, 1)).toBe(4);
});

test("areal 6.9 and R1's fork: a shared role and a forked one on the same device; both end without the target", async () => {
  const strategy = (fork: boolean) => ({ type: "colocation", target: "actor", fork }) as const;
  expect(
    await scheduler.createWorkers({ role: "ref", replicas: 2, tasks: [SPEC], schedulingStrategy: strategy(false) }),
  ).toEqual(["actor/0", "actor/1"]);
  await scheduler.createEngine("actor/0", "toy_engines.Toy", { engineName: "ref/0" });
  expect(await scheduler.callEngine("actor/0", "add", { engineName: "ref/0", args: [2, 2] })).toBe(4);
  await scheduler.createWorkers({
    role: "critic",
    replicas: 2,
    tasks: [{ ...SPEC, cpu: 0, mem: 0 }],
    schedulingStrategy: strategy(true),
  });
  const forks = await scheduler.getWorkers("critic");
  expect(forks.map((fork) => fork.devices[0]?.uuid)).toEqual(workers.map((worker) => worker.devices[0]?.uuid));
  await scheduler.createEngine("critic/0", "toy_engines.Toy");
  expect(await call("critic/0", "env", "RANK")).toEqual(["0"]);
  await scheduler.deleteWorkers("critic");
  await scheduler.deleteWorkers("ref");
  expect(await call("actor/0", "add", 1, 1)).toBe(2);
});

test("a master address in the role's group is on rank 0's node", async () => {
  const [group] = scheduler.placementGroups("actor");
  const { ip, port } = await scheduler.getPlacementGroupMasterIpAndPort(group!);
  expect(ip).toBe(workers[0]?.ip);
  expect(workers.flatMap((worker) => worker.workerPorts)).not.toContain(String(port));
});

test("areal 6.7: an engine that dies tells exit code and last lines to its caller; the other rank goes on", async () => {
  const pid = (await call("actor/1", "pid")) as number;
  const error = (await call("actor/1", "die", 7).catch((thrown: unknown) => thrown)) as WorkerFailedError;
  expect(error).toBeInstanceOf(WorkerFailedError);
  expect(error).toMatchObject({ workerId: "actor/1", exitCode: 7 });
  expect(error.stderr).toContain("CUDA error: an illegal memory access");
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  await expect(call("actor/1", "add", 1, 1)).rejects.toMatchObject({ exitCode: 7 });
  await expect(scheduler.getWorkers("actor")).rejects.toMatchObject({ workerId: "actor/1", exitCode: 7 });
  expect(await call("actor/0", "add", 1, 1)).toBe(2);
});

test("areal 6.21: after the delete nothing is left, and the role can be made again", async () => {
  const { roles } = await scheduler.deleteWorkers("actor", { reverseOrder: true });
  expect(roles[0]).toMatchObject({ role: "actor", killed: [], leftovers: 0, groupsRemoved: 1 });
  expect(enginesLeft()).toEqual([]);
  expect(await scheduler.createWorkers({ role: "actor", replicas: 2, tasks: [SPEC] })).toHaveLength(2);
  expect(await scheduler.getWorkers("actor")).toHaveLength(2);
});
