import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LocalScheduler, type RTensor } from "../src/index.ts";

const PYTHONPATH = fileURLToPath(new URL("./engines/", import.meta.url));
const SPEC = { cpu: 1, gpu: 1, mem: 0.1, portCount: 0, envVars: { PYTHONPATH, PARENT: "yes" } };
let scheduler: LocalScheduler;

beforeAll(async () => {
  scheduler = new LocalScheduler({ numCpus: 4, numGpus: 2, startupTimeoutMs: 60_000, experimentName: "hosts" });
  await scheduler.createWorkers({ role: "actor", replicas: 2, tasks: [SPEC] });
}, 90_000);
afterAll(() => scheduler[Symbol.asyncDispose](), 60_000);

/** Variables of a process as they were at its exec. */
function environment(pid: number): Map<string, string> {
  const entries = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
  return new Map(entries.map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]));
}

test("areal 6.11: a forked host has a pid, answers, has its parent's environment and devices; killed once, unknown twice", async () => {
  await scheduler.setWorkerEnv("actor/0", { RANK: "0" });
  await scheduler.createEngine("actor/0", "toy_engines.Toy");
  const parent = (await scheduler.callEngine("actor/0", "pid")) as number;
  const proxy = { role: "proxy", index: 0 };
  const { pid } = await scheduler.forkHost("actor/0", { ...proxy, env: { OWN: "a=1,b" } });
  const [of, its] = [environment(parent), environment(pid)];
  expect(pid).not.toBe(parent);
  expect([its.get("PARENT"), its.get("RANK"), its.get("OWN")]).toEqual(["yes", "0", "a=1,b"]);
  expect(its.get("CUDA_VISIBLE_DEVICES")).toBe(of.get("CUDA_VISIBLE_DEVICES"));
  const host = "proxy/0";
  await scheduler.createEngine("actor/0", "toy_engines.Toy", { host, engineName: "p", kwargs: { scale: 3 } });
  const call = (method: string, args: unknown[] = []) =>
    scheduler.callEngine("actor/0", method, { host, engineName: "p", args });
  expect(await call("pid")).toBe(pid);
  expect(await call("add", [1, 2])).toBe(9);
  expect(await scheduler.callEngine("actor/0", "add", { args: [1, 2] })).toBe(3);

  await expect(scheduler.callEngine("actor/0", "pid", { host, engineName: "p", remote: true })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
  });
  await expect(scheduler.forkHost("actor/0", { role: "../x", index: 0 })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
  });
  await expect(scheduler.forkHost("actor/0", proxy)).rejects.toMatchObject({ code: "ENGINE_EXISTS" });
  await scheduler.killForkedHost("actor/0", proxy);
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  await expect(scheduler.killForkedHost("actor/0", proxy)).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(scheduler.killForkedHost("actor/0", { role: "nobody", index: 0 })).rejects.toMatchObject({
    code: "NOT_FOUND",
  });
  await expect(call("pid")).rejects.toMatchObject({ details: { code: "NOT_FOUND" } });
  expect(await scheduler.callEngine("actor/0", "add", { args: [1, 2] })).toBe(3);
});

test("areal 6.11: a forked host runs a command of its own, and ends with its worker", async () => {
  const { pid } = await scheduler.forkHost("actor/1", { role: "proxy", index: 1, cmd: "toy_host" });
  await scheduler.createEngine("actor/1", "toy_engines.Toy", { host: "proxy/1", engineName: "p" });
  const options = { host: "proxy/1", engineName: "p", args: ["TOY_HOST"] };
  expect(await scheduler.callEngine("actor/1", "env", options)).toEqual(["1"]);
  await scheduler.createWorkers({ role: "short", replicas: 1, tasks: [{ ...SPEC, gpu: 0 }] });
  const short = await scheduler.forkHost("short/0", { role: "proxy", index: 0 });
  await scheduler.deleteWorkers("short");
  expect(existsSync(`/proc/${short.pid}`)).toBe(false);
  expect(existsSync(`/proc/${pid}`)).toBe(true);
});

test("areal 6.25: a tensor stays on its engine, another engine gets it whole, the controller by localize; cleared it is gone", async () => {
  const engineName = "batches";
  for (const id of ["actor/0", "actor/1"]) await scheduler.createEngine(id, "toy_engines.Batches", { engineName });
  const call = (worker: string, method: string, args: unknown[], remote = false) =>
    scheduler.callEngine(worker, method, { engineName, args, remote });
  const made = (await call("actor/0", "make", [100, 1_000], true)) as { rows: number; ids: RTensor };
  expect(made.rows).toBe(100);
  expect(made.ids).toMatchObject({ workerId: "actor/0", dtype: "u1", shape: [100, 1_000], byteLength: 100_000 });
  const plain = (await scheduler.localize(made)) as { ids: { dtype: string; shape: number[]; bytes: Uint8Array } };
  expect([plain.ids.dtype, plain.ids.shape]).toEqual(["u1", [100, 1_000]]);
  const sum = plain.ids.bytes.reduce((total, one) => total + one, 0);
  expect(await call("actor/1", "total", [made.ids, made.ids])).toEqual([sum, sum]);
  expect(await call("actor/0", "total", [made.ids])).toEqual([sum]);
  const large = new Uint8Array(3_000_000).fill(1);
  expect(await call("actor/1", "total", [large, made.ids])).toEqual([3_000_000, sum]);
  expect(((await call("actor/1", "shape", [made.ids])) as unknown[])[0]).toEqual([100, 1_000]);
  await using scoped = ((await call("actor/0", "make", [1, 8], true)) as { ids: RTensor }).ids;
  expect(await scheduler.clearTensors(made)).toEqual({ cleared: 1, bytes: 100_000 });
  expect(await scoped.fetch()).toMatchObject({ shape: [1, 8] });
  await expect(call("actor/1", "total", [made.ids])).rejects.toMatchObject({
    name: "EngineCallError",
    message: expect.stringContaining(`Tensor ${made.ids.id} of worker 'actor/0' cannot be had`),
  });
});

test("while a method runs its worker tells which one and where it is; a late call names the idle rank", async () => {
  const options = { args: [30], timeoutMs: 500, rpcMeta: { interrupt: true } };
  const late = scheduler.callEngine("actor/0", "sleep", options).catch((error: unknown) => error as Error);
  const end = Date.now() + 10_000;
  let [health] = await scheduler.health("actor");
  while (health?.method !== "sleep" && Date.now() < end) [health] = await scheduler.health("actor");
  expect(health).toMatchObject({ workerId: "actor/0", status: "healthy", busy: true, method: "sleep" });
  expect(await scheduler.stacks("actor/0")).toMatch(/toy_engines\.py.*in sleep/s);
  // Caller and callee both count; either may be the first to say so.
  expect(((await late) as Error).message).toMatch(/(within|after) 500 ms; .*idle: .*actor\/1/);
  expect(await scheduler.callEngine("actor/0", "add", { args: [1, 2] })).toBe(3);
});

test("an engine that sees fewer devices than its worker was granted says so in its health, and goes on", async () => {
  await using short = new LocalScheduler({ numCpus: 2, numGpus: 4 });
  const envVars = { PYTHONPATH: `${PYTHONPATH}short_sight` };
  await short.createWorkers({ role: "rollout", replicas: 1, tasks: [{ ...SPEC, gpu: 4, envVars }] });
  await short.createEngine("rollout/0", "short_sight.Engine");
  const words = "4 GPU were granted, but this process sees 3";
  const [health] = await short.health("rollout");
  expect(health).toMatchObject({ status: "healthy", deviceMismatches: [words] });
}, 60_000);

test("areal 6.26: each rank has a log file of its own, in a directory that was made for it", async () => {
  await scheduler.createEngine("actor/1", "toy_engines.Toy");
  const death = (await scheduler.callEngine("actor/1", "die", { args: [7] }).catch((error: unknown) => error)) as {
    where: { logPath: string };
  };
  expect(death.where.logPath).toMatch(/actor-1/);
  // The caller of an engine on its machine may hear of the end a moment before the last lines are in the file.
  const log = (): string => readFileSync(death.where.logPath, "utf8");
  await expect.poll(log).toContain("CUDA error: an illegal memory access");
});

test("areal 6.26: the devices of the driver's variable are kept as they are named; more than it names are refused", async () => {
  const before = process.env["CUDA_VISIBLE_DEVICES"];
  process.env["CUDA_VISIBLE_DEVICES"] = "5,3";
  try {
    await using kept = new LocalScheduler({ numCpus: 2, numGpus: 2 });
    await kept.createWorkers({ role: "a", replicas: 2, tasks: [{ ...SPEC, cpu: 0.5 }] });
    const workers = await kept.getWorkers("a");
    expect(workers.map((worker) => worker.devices[0]?.index)).toEqual([3, 5]);
    await kept.createEngine("a/1", "toy_engines.Toy");
    expect(await kept.callEngine("a/1", "exec_env", { args: ["CUDA_VISIBLE_DEVICES"] })).toEqual(["5"]);
    await using refused = new LocalScheduler({ numCpus: 2, numGpus: 3 });
    const job = { role: "a", replicas: 1, tasks: [SPEC] };
    await expect(refused.createWorkers(job)).rejects.toMatchObject({ code: "DEVICE_COUNT_EXCEEDS_VISIBLE" });
  } finally {
    if (before === undefined) delete process.env["CUDA_VISIBLE_DEVICES"];
    else process.env["CUDA_VISIBLE_DEVICES"] = before;
  }
}, 60_000);
