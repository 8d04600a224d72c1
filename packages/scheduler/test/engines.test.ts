import { TaskCancelledError, WhiprayError, WorkerCrashedError } from "@whipray/core";
import { beforeEach, describe, expect, test } from "vitest";
import {
  type ClusterScheduler,
  EngineCallError,
  EngineCreationError,
  EngineImportError,
  RPCConnectionError,
  WorkerConfigurationError,
  WorkerFailedError,
  WorkerNotFoundError,
} from "../src/index.ts";
import { MemoryCluster } from "./memory-cluster.ts";
import { engineClasses } from "./memory-engine.ts";
import type { MemoryServer } from "./memory-server.ts";

let cluster: MemoryCluster;
let scheduler: ClusterScheduler;
let server: MemoryServer;
let executions: string[];
const calls = (method: string, options = {}) => cluster.run(scheduler.asyncCallEngine("a/0", method, options));

beforeEach(async () => {
  executions = [];
  engineClasses.set("my.Engine", (args, kwargs) => ({
    add: (left: number, right: number) => {
      executions.push("add");
      return left + right;
    },
    made: () => ({ args, kwargs }),
    boom: () => {
      executions.push("boom");
      throw new RangeError("out of memory");
    },
    *count(end: number) {
      for (let i = 0; i < end; i++) yield i;
      return "done";
    },
    *breaks() {
      yield 1;
      throw new RangeError("half way");
    },
    forever: () => new Promise(() => {}),
  }));
  engineClasses.set("my.Broken", () => {
    throw new Error("no weights");
  });
  cluster = new MemoryCluster();
  scheduler = cluster.scheduler();
  await cluster.run(
    scheduler.createWorkers({
      role: "a",
      replicas: 1,
      tasks: [{ cpu: 1, gpu: 1, mem: 1, envVars: { SPEC: "s=1,t" } }],
    }),
  );
  server = cluster.servers[0]!;
});
const create = (engine = "my.Engine", options = {}) => cluster.run(scheduler.createEngine("a/0", engine, options));

describe("areal 6.15: creating engines", () => {
  test("gives nothing back; arguments and the worker's id as name arrive", async () => {
    expect(await create("my.Engine", { args: [1], kwargs: { lr: 0.1 } })).toBeUndefined();
    expect(await calls("made")).toEqual({ args: [1], kwargs: { lr: 0.1 } });
    expect([...(server.engine?.engines.keys() ?? [])]).toEqual(["a/0"]);
  });

  test("several named engines live in one worker", async () => {
    await create("my.Engine", { engineName: "actor/0" });
    await create("my.Engine", { engineName: "ref/0" });
    expect(await calls("add", { engineName: "ref/0", args: [1, 2] })).toBe(3);
    expect(server.engines).toHaveLength(1);
    await expect(create("my.Engine", { engineName: "ref/0" })).rejects.toMatchObject({ statusCode: 400 });
  });

  test("what is no import path is an EngineCreationError 400, and nothing starts", async () => {
    for (const bad of [7, null, "", {}])
      await expect(create(bad as string)).rejects.toMatchObject({ name: "EngineCreationError", statusCode: 400 });
    await expect(create("my.Engine", { engineName: "" })).rejects.toThrow(EngineCreationError);
    expect(server.engines).toHaveLength(0);
  });

  test("a failed import is an EngineImportError, a constructor that raises an EngineCreationError 500", async () => {
    await expect(create("no.Such")).rejects.toThrow(EngineImportError);
    await expect(create("no.Such")).rejects.toMatchObject({ importPath: "no.Such" });
    await expect(create("my.Broken")).rejects.toMatchObject({
      name: "EngineCreationError",
      statusCode: 500,
      reason: expect.stringContaining("no weights"),
    });
  });

  test("a dead worker is a WorkerFailedError, one that cannot be reached an RPCConnectionError", async () => {
    server.refusals.push(new WhiprayError({ code: "UNREACHABLE", message: "no way", retryable: true }));
    await expect(create()).rejects.toThrow(RPCConnectionError);
    server.end({ message: "exited", exitCode: 1 });
    await expect(create()).rejects.toThrow(WorkerFailedError);
  });

  test("a host that does not start is an EngineCreationError, and a later try may succeed", async () => {
    server.launchError = new WhiprayError({ code: "ENGINE_START_TIMEOUT", message: "did not connect" });
    await expect(create()).rejects.toThrow(EngineCreationError);
    server.launchError = new WorkerCrashedError({
      code: "ENGINE_START_FAILED",
      message: "ended",
      where: { exitCode: 2 },
    });
    await expect(create()).rejects.toMatchObject({ name: "WorkerFailedError", exitCode: 2 });
    server.launchError = undefined;
    await create();
  });

  test("a constructor that takes too long is an EngineCreationError with its time; AReaL's default is 300 s", async () => {
    engineClasses.set("my.Slow", () => ({}));
    const seen: unknown[] = [];
    server.call = async (_method, _parts, options) => {
      seen.push(options?.timeoutMs);
      throw new WhiprayError({ code: "DEADLINE_EXCEEDED", message: `did not end within ${options?.timeoutMs} ms` });
    };
    await expect(create("my.Slow")).rejects.toMatchObject({
      name: "EngineCreationError",
      statusCode: undefined,
      reason: "did not end within 300000 ms",
    });
    await expect(create("my.Slow", { timeoutMs: 50 })).rejects.toThrow("50 ms");
    expect(seen).toEqual([300_000, 50]);
  });

  test("an unknown worker is a WorkerNotFoundError", async () => {
    await expect(scheduler.createEngine("a/9", "my.Engine")).rejects.toThrow(WorkerNotFoundError);
    await expect(scheduler.asyncCallEngine("b/0", "add")).rejects.toThrow(WorkerNotFoundError);
    await expect(scheduler.setWorkerEnv("b/0", { A: "1" })).rejects.toThrow(WorkerNotFoundError);
  });
});

describe("areal 6.16: calling engines", () => {
  test("a method that raises runs once, and the error has class, message and attempt", async () => {
    await create();
    const error = await calls("boom").catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(EngineCallError);
    expect(error).toMatchObject({ workerId: "a/0", method: "boom", attempt: 1, reason: "out of memory" });
    expect((error as EngineCallError).cause).toMatchObject({ message: "out of memory" });
    expect(executions).toEqual(["boom"]);
  });

  test("AReaL's defaults: 7 200 s a try, 3 tries, 1 s before the second; both names are one call", async () => {
    const seen: unknown[] = [];
    server.call = async (_method, _parts, options) => {
      seen.push(options?.timeoutMs);
      throw new WhiprayError({ code: "BUSY", message: "queue is full", retryable: true });
    };
    await expect(cluster.run(scheduler.callEngine("a/0", "add"))).rejects.toMatchObject({ attempt: 3 });
    expect(seen).toEqual([7_200_000, 7_200_000, 7_200_000]);
    expect(cluster.clock.now()).toBe(3_000);
    const once = { maxRetries: 1, timeoutMs: 5 };
    await expect(calls("add", once)).rejects.toMatchObject({ attempt: 1 });
    expect(seen.slice(3)).toEqual([5]);
  });

  test("a busy worker is tried again after 1 s and 2 s, and the call runs once", async () => {
    await create();
    const busy = () => new WhiprayError({ code: "BUSY", message: "queue is full", retryable: true });
    server.refusals.push(busy(), busy());
    const startedAtMs = cluster.clock.now();
    expect(await calls("add", { args: [1, 2] })).toBe(3);
    expect(cluster.clock.now() - startedAtMs).toBe(3_000);
    expect(executions).toEqual(["add"]);
    server.refusals.push(busy(), busy(), busy());
    await expect(calls("add", { args: [1, 2] })).rejects.toMatchObject({ name: "EngineCallError", attempt: 3 });
    expect(executions).toEqual(["add"]);
  });

  test("an outcome that nobody knows is not tried again", async () => {
    await create();
    server.refusals.push(new WhiprayError({ code: "OUTCOME_UNKNOWN", message: "may have run" }));
    await expect(calls("add", { args: [1, 2] })).rejects.toMatchObject({
      name: "EngineCallError",
      attempt: 1,
      details: { code: "OUTCOME_UNKNOWN" },
    });
    expect(executions).toEqual([]);
  });

  test("a call that takes too long ends with its time, and is not tried again", async () => {
    await create();
    await expect(calls("forever", { timeoutMs: 50 })).rejects.toMatchObject({
      name: "EngineCallError",
      details: { code: "DEADLINE_EXCEEDED" },
    });
  });

  test("a cancel stays a cancel, also between two tries", async () => {
    await create();
    const abort = new AbortController();
    const pending = calls("forever", { signal: abort.signal });
    abort.abort();
    await expect(pending).rejects.toThrow(TaskCancelledError);
    const later = new AbortController();
    server.refusals.push(new WhiprayError({ code: "BUSY", message: "full", retryable: true }));
    const waiting = scheduler.asyncCallEngine("a/0", "add", { signal: later.signal });
    await cluster.clock.run(10);
    later.abort();
    await expect(waiting).rejects.toThrow(TaskCancelledError);
    expect(executions).toEqual([]);
  });

  test("an engine that dies fails its calls with exit code and last lines", async () => {
    await create();
    server.engine!.death = new WorkerCrashedError({
      message: "ended",
      where: { signal: "SIGSEGV", stderrTail: ["Fatal Python error"] },
    });
    await expect(calls("add")).rejects.toMatchObject({
      name: "WorkerFailedError",
      exitCode: -11,
      stderr: "Fatal Python error",
      message: expect.stringMatching(/^Worker 'a\/0' failed with exit code -11: engine call 'add': ended\n/),
    });
  });

  test("a dead engine is seen by getWorkers too, a busy one is fine", async () => {
    await create();
    server.engine!.health = async () => {
      throw new WhiprayError({ code: "DEADLINE_EXCEEDED", message: "the GIL is held" });
    };
    expect(await cluster.run(scheduler.getWorkers("a"))).toHaveLength(1);
    server.engine!.death = new WorkerCrashedError({ message: "ended", where: { exitCode: 3 } });
    await expect(cluster.run(scheduler.getWorkers("a"))).rejects.toMatchObject({
      name: "WorkerFailedError",
      exitCode: 3,
    });
  });

  test("a call before any engine says so", async () => {
    await expect(calls("add")).rejects.toThrow("No engine was created on worker 'a/0' yet");
  });

  test("what cannot travel is refused with its path, before anything is sent", async () => {
    await create();
    await expect(calls("add", { args: [1, () => 2] })).rejects.toThrow(/args\[1\]/);
    class CudaPlatform {}
    await expect(calls("add", { kwargs: { on: new CudaPlatform() } })).rejects.toThrow(
      /kwargs\.on.*instance of CudaPlatform/,
    );
    expect(executions).toEqual([]);
  });

  test("items of a generator come as they are; what came before an error stays readable", async () => {
    await create();
    const items: unknown[] = [];
    for await (const item of scheduler.streamEngine("a/0", "count", { args: [3] })) items.push(item);
    expect(items).toEqual([0, 1, 2]);
    const broken = scheduler.streamEngine("a/0", "breaks");
    expect(await broken.next()).toEqual({ done: false, value: 1 });
    await expect(broken.next()).rejects.toThrow(EngineCallError);
  });
});

describe("areal 6.13: environment", () => {
  test("what is set before the first engine is there when the interpreter starts; spec first, then setWorkerEnv", async () => {
    expect(await cluster.run(scheduler.setWorkerEnv("a/0", { RANK: "0", SPEC: "later" }))).toEqual({
      appliedLate: false,
    });
    await create();
    expect(server.engine?.spec.env).toEqual({ RANK: "0", SPEC: "later" });
    expect(server.engine?.ran).toEqual(["create_engine"]);
  });

  test("a value with = and , arrives whole", async () => {
    await create();
    expect(server.engine?.spec.env).toEqual({ SPEC: "s=1,t" });
  });

  test("afterwards it is applied late, and device variables are refused", async () => {
    await create();
    expect(await cluster.run(scheduler.setWorkerEnv("a/0", { RANK: "1" }))).toEqual({ appliedLate: true });
    expect(server.engine?.env["RANK"]).toBe("1");
    await expect(cluster.run(scheduler.setWorkerEnv("a/0", { CUDA_VISIBLE_DEVICES: "7" }))).rejects.toMatchObject({
      code: "INVALID_ENV",
    });
  });

  test("an empty environment asks nobody; what is no map is refused", async () => {
    expect(await scheduler.setWorkerEnv("a/0", {})).toEqual({ appliedLate: false });
    expect(server.asked).toEqual([]);
    await expect(scheduler.setWorkerEnv("a/0", ["A"] as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("configuration", () => {
  test("waits for the host, and reaches it before the first engine", async () => {
    await cluster.run(scheduler.configureWorkers("a", { seed: 5 }));
    expect(server.engines).toHaveLength(0);
    await create();
    expect(server.engine?.seed).toBe(5);
    expect(server.engine?.ran).toEqual(["configure", "create_engine"]);
  });

  test("an error of it is never lost", async () => {
    await create();
    await expect(cluster.run(scheduler.configureWorkers("a", { seed: "x" }))).rejects.toThrow(WorkerConfigurationError);
  });
});
