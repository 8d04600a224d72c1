import { WhiprayError, WorkerCrashedError } from "@whipray/core";
import { decodeValues, encodeValues } from "@whipray/rpc";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EngineProcess } from "../src/index.ts";
import { EngineWorld } from "./engine-world.ts";

let world: EngineWorld;
beforeEach(() => {
  world = new EngineWorld();
});
afterEach(() => world.close());

const caught = async (promise: Promise<unknown>): Promise<WhiprayError> => {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(WhiprayError);
  return error as WhiprayError;
};

describe("launching an engine", () => {
  test("gives the raylet the whole spec with defaults, and a token of 256 bits that only this engine has", async () => {
    const engine = await EngineProcess.launch(world.launcher, { logName: "actor-0", env: { RANK: "0" } });
    await EngineProcess.launch(world.launcher, {
      logName: "actor-0",
      pty: true,
      python: "/venv/bin/python",
      graceMs: 1,
    });
    const [first, second] = world.starts;
    expect(first).toMatchObject({
      actorId: "actor_a",
      epoch: 1,
      argv: [],
      env: { RANK: "0" },
      isolation: "env",
      pty: false,
    });
    expect(first).toMatchObject({
      socket: "memory:worker",
      logName: "actor-0",
      graceMs: 5_000,
      engineId: engine.engineId,
    });
    expect(second).toMatchObject({ pty: true, python: "/venv/bin/python", graceMs: 1 });
    expect(first?.token).toMatch(/^[0-9a-f]{64}$/);
    expect(first?.token).not.toBe(second?.token);
    expect(engine.pid).toBe(4242);
    expect(engine.logPath).toBe("/logs/actor-0.log");
  });

  test("an engine that ends before it connects fails the launch with exit code, last lines and log", async () => {
    world.onStart = (request) =>
      world.tellEnded(request.engineId, { exitCode: 3, stderrTail: ["ModuleNotFoundError: x"], logPath: "/l/x.log" });
    const error = await caught(EngineProcess.launch(world.launcher, { logName: "x" }));
    expect(error).toBeInstanceOf(WorkerCrashedError);
    expect(error.code).toBe("ENGINE_START_FAILED");
    expect(error.where).toMatchObject({
      exitCode: 3,
      stderrTail: ["ModuleNotFoundError: x"],
      logPath: "/l/x.log",
      node: "node_a",
    });
    expect(error.message).toContain("exit code 3");
    expect(error.message).toContain("ModuleNotFoundError: x");
  });

  test("an engine that never connects is stopped, and the error names the limit", async () => {
    world.onStart = () => {};
    const error = await caught(EngineProcess.launch(world.launcher, { logName: "x", startTimeoutMs: 30 }));
    expect(error.code).toBe("ENGINE_START_TIMEOUT");
    expect(error.message).toContain("30 ms");
    expect(error.where?.logPath).toBe("/logs/x.log");
    expect(world.stops).toEqual([{ engineId: world.starts[0]?.engineId, graceMs: 0 }]);
  });

  test("a raylet that never answers counts against the same time", async () => {
    world.onStart = () => new Promise(() => {});
    const error = await caught(EngineProcess.launch(world.launcher, { logName: "x", startTimeoutMs: 30 }));
    expect(error.code).toBe("ENGINE_START_TIMEOUT");
  });

  test("what the raylet refuses comes through with its code", async () => {
    world.onStart = () => {
      throw new WhiprayError({ code: "INVALID_ENV", message: "CUDA_VISIBLE_DEVICES would show other devices" });
    };
    const error = await caught(EngineProcess.launch(world.launcher, { logName: "x" }));
    expect(error.code).toBe("INVALID_ENV");
  });

  test("a wrong token is not let in", async () => {
    world.onStart = async (request) => {
      await world.engine({ ...request, token: "f".repeat(64) }).catch(() => {});
    };
    const error = await caught(EngineProcess.launch(world.launcher, { logName: "x", startTimeoutMs: 50 }));
    expect(error.code).toBe("ENGINE_START_TIMEOUT");
  });

  test("aborting the launch stops the engine", async () => {
    const abort = new AbortController();
    world.onStart = () => abort.abort(new WhiprayError({ code: "CANCELLED", message: "not needed any more" }));
    const error = await caught(EngineProcess.launch(world.launcher, { logName: "x" }, abort.signal));
    expect(error.code).toBe("CANCELLED");
    expect(world.stops).toHaveLength(1);
  });
});

describe("calling an engine", () => {
  test("replies, errors and items come back", async () => {
    world.serveEngine = (endpoint) =>
      endpoint.onCall(async (call) => {
        if (call.method === "boom") call.fail(new TypeError("no"));
        else if (call.wantsStream) {
          for (let i = 0; i < 300; i++) await call.item(encodeValues(i));
          call.end(encodeValues("done"));
        } else call.reply(call.parts);
      });
    const engine = await EngineProcess.launch(world.launcher, { logName: "x" });
    expect(decodeValues(await engine.call("echo", encodeValues({ a: 1 })))).toEqual({ a: 1 });
    expect(await caught(engine.call("boom", encodeValues(null)))).toMatchObject({
      remoteName: "TypeError",
      message: "no",
    });
    const items: unknown[] = [];
    for await (const item of engine.stream("items", encodeValues(null))) items.push(decodeValues(item));
    expect(items).toHaveLength(300);
  });

  test("its death fails pending calls with exit signal, last lines and log, although the connection's end comes first", async () => {
    const arrived = Promise.withResolvers<void>();
    const methods = new Set<string>();
    world.serveEngine = (endpoint) =>
      endpoint.onCall(({ method }) => {
        if (methods.add(method).size === 2) arrived.resolve();
      });
    const engine = await EngineProcess.launch(world.launcher, { logName: "x" });
    const pending = caught(engine.call("train", encodeValues(null)));
    const reading = caught(engine.stream("generate", encodeValues(null)).next());
    await arrived.promise;
    world.cut(engine.engineId);
    await world.tellEnded(engine.engineId, { signal: "SIGKILL", stderrTail: ["Killed"], logPath: "/l/x.log", pid: 77 });
    for (const error of [await pending, await reading]) {
      expect(error).toBeInstanceOf(WorkerCrashedError);
      expect(error.code).toBe("WORKER_CRASHED");
      expect(error.retryable).toBe(false);
      expect(error.where).toMatchObject({ signal: "SIGKILL", stderrTail: ["Killed"], logPath: "/l/x.log", pid: 77 });
    }
    expect((await pending).message).toContain("before train had ended");
    expect(await caught(engine.call("later", encodeValues(null)))).toBeInstanceOf(WorkerCrashedError);
  });

  test("a raylet that says nothing does not hold the error back for ever", async () => {
    const engine = await EngineProcess.launch(world.launcher, { logName: "x" });
    const ended = new Promise<WorkerCrashedError>((resolve) => engine.onEnded(resolve));
    const pending = caught(engine.call("train", encodeValues(null)));
    world.cut(engine.engineId);
    expect((await pending).message).toContain("its raylet has not told why yet");
    expect(await ended).toBe(engine.death);
  });

  test("replies that are still in the socket count when the raylet's notice overtakes them", async () => {
    const started = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    world.serveEngine = (endpoint) =>
      endpoint.onCall(async (call) => {
        started.resolve();
        await release.promise;
        call.reply(encodeValues("last words"));
      });
    const engine = await EngineProcess.launch(world.launcher, { logName: "x" });
    const pending = engine.call("train", encodeValues(null));
    await started.promise;
    await world.tellEnded(engine.engineId, { exitCode: 0 });
    release.resolve();
    expect(decodeValues(await pending)).toBe("last words");
  });

  test("a descendant that holds the connection open does not hide the engine's death", async () => {
    const engine = await EngineProcess.launch(world.launcher, { logName: "x" });
    world.serveEngine = () => {};
    const pending = caught(
      engine.call("health", encodeValues(null)).then(() => engine.call("train", encodeValues(null))),
    );
    await world.tellEnded(engine.engineId, { exitCode: 9 });
    expect(await new Promise<WorkerCrashedError>((resolve) => engine.onEnded(resolve))).toMatchObject({
      where: { exitCode: 9 },
    });
    await pending;
  });

  test("stop asks the raylet with the engine's own grace", async () => {
    const engine = await EngineProcess.launch(world.launcher, { logName: "x", graceMs: 7 });
    expect(await engine.stop()).toEqual({ found: true, killed: 1, left: 0 });
    expect(world.stops).toEqual([{ engineId: engine.engineId, graceMs: 7 }]);
  });
});
