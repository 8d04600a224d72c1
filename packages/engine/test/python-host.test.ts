import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { randomIds, seededRandom, silentLogger, systemClock, WhiprayError, WorkerCrashedError } from "@whipray/core";
import {
  type DeathCause,
  decodeValues,
  dialTransport,
  type EngineStart,
  engineEnded,
  engineStart,
  engineStop,
  listenUnix,
  type Parts,
  Tensor,
  tokenMatches,
  WireEndpoint,
} from "@whipray/rpc";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EngineProcess, encodeHostRequest, engineHostPath } from "../src/index.ts";

const NODE = "node_a";
const ENGINES = `
import os, sys, time

class Engine:
    def __init__(self, scale=1):
        self.scale = scale
    def echo(self, *args, **kwargs):
        return {"args": list(args), "kwargs": kwargs}
    def env(self, name):
        return os.environ.get(name)
    def boom(self):
        raise ValueError("lr must be positive")
    def count(self, end):
        for index in range(end):
            yield index
        return "done"
    def die(self, code):
        sys.stderr.write("last words\\n")
        sys.stderr.flush()
        os._exit(code)
    def sleep(self, seconds):
        time.sleep(seconds)
`;

let directory: string;
let worker: WireEndpoint;
let raylet: WireEndpoint;
let engine: EngineProcess;
const children = new Map<string, { child: ChildProcess; stderr: string[] }>();
const expected = new Map<string, { digest: string; onLink: () => void }>();

// A raylet of the fewest lines that start a real engine host: no guard, no logs, no devices.
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "whipray-engine-"));
  writeFileSync(join(directory, "my_engines.py"), ENGINES);
  const common = {
    clock: systemClock,
    ids: randomIds(),
    random: seededRandom(1),
    logger: silentLogger,
    transport: dialTransport(),
  };
  worker = new WireEndpoint({
    ...common,
    address: `${NODE}/worker_a`,
    role: "worker",
    token: "worker",
    admit: (hello) => {
      const digest = expected.get(hello.address)?.digest;
      if (hello.role === "engine" && !(digest && tokenMatches(hello.token, digest)))
        throw new WhiprayError({ code: "UNAUTHENTICATED", message: "no" });
    },
    onLink: ({ role, address }) => {
      if (role === "engine") expected.get(address)?.onLink();
    },
  });
  raylet = new WireEndpoint({ ...common, address: `${NODE}/raylet`, role: "raylet", token: "raylet", admit: () => {} });
  await listenUnix(join(directory, "worker.sock"), (channel) => worker.accept(channel));
  await listenUnix(join(directory, "raylet.sock"), (channel) => raylet.accept(channel));
  raylet.serve(engineStart, (request) => start(request));
  raylet.serve(engineStop, ({ engineId }) => {
    const found = children.get(engineId)?.child.kill("SIGKILL") ?? false;
    return { found, killed: found ? 1 : 0, left: 0 };
  });
  engine = await launch({ RANK: "3" });
  await engine.call(
    "create_engine",
    encodeHostRequest({ engine: "my_engines.Engine", engineName: "e", kwargs: { scale: 2 } }),
  );
});

afterAll(async () => {
  for (const { child } of children.values()) child.kill("SIGKILL");
  await worker.close();
  await raylet.close();
  rmSync(directory, { recursive: true, force: true });
});

function start(request: EngineStart): { pid: number; logPath: string } {
  const tokenFile = join(directory, `${request.engineId}.token`);
  writeFileSync(tokenFile, request.token, { mode: 0o600 });
  const env = {
    PATH: process.env["PATH"],
    ...request.env,
    PYTHONPATH: `${directory}:${fileURLToPath(engineHostPath())}`,
    WHIPRAY_ENGINE_SOCKET: request.socket,
    WHIPRAY_ENGINE_TOKEN_FILE: tokenFile,
    WHIPRAY_ENGINE_ADDRESS: `${NODE}/${request.engineId}`,
  };
  const child = spawn("python3", ["-m", "whipray_engine"], { env, stdio: ["ignore", "ignore", "pipe"] });
  const stderr: string[] = [];
  children.set(request.engineId, { child, stderr });
  child.stderr.on("data", (chunk: Buffer) => stderr.push(...chunk.toString().trimEnd().split("\n")));
  child.on("close", (code, signal) => void ended(request.engineId, child.pid ?? 0, code, signal, stderr));
  return { pid: child.pid ?? 0, logPath: "/logs/x.log" };
}

async function ended(
  engineId: string,
  pid: number,
  code: number | null,
  signal: string | null,
  stderrTail: string[],
): Promise<void> {
  const cause: DeathCause = {
    kind: "WORKER_DIED",
    message: "the engine ended",
    pid,
    stderrTail,
    ...(code !== null && { exitCode: code }),
    ...(signal !== null && { signal }),
  };
  const peer = raylet.connect({
    to: `${NODE}/worker_a`,
    url: `unix:${join(directory, "worker.sock")}`,
    purpose: "control",
  });
  await peer.invoke(engineEnded, { engineId, cause }).catch(() => {});
}

function launch(env: Record<string, string>): Promise<EngineProcess> {
  const launcher = {
    endpoint: worker,
    raylet: worker.connect({ to: `${NODE}/raylet`, url: `unix:${join(directory, "raylet.sock")}`, purpose: "control" }),
    nodeId: NODE,
    actorId: "actor_a",
    epoch: 1,
    socket: join(directory, "worker.sock"),
    expectEngine: (engineId: string, digest: string, onLink: () => void) => {
      expected.set(`${NODE}/${engineId}`, { digest, onLink });
      return () => expected.delete(`${NODE}/${engineId}`);
    },
    clock: systemClock,
    ids: randomIds(),
  };
  return EngineProcess.launch(launcher, { logName: "actor-0", env, startTimeoutMs: 20_000 });
}

const request = (method: string, ...args: unknown[]): Parts => encodeHostRequest({ engineName: "e", method, args });
const call = async (method: string, ...args: unknown[]): Promise<unknown> =>
  decodeValues(await engine.call("call", request(method, ...args)));

test("values and tensors go to Python and back", async () => {
  const weights = new Tensor("f4", [2, 3], new Float32Array([1, 2, 3, 4, 5, 6]));
  const large = new Float32Array(100_000).fill(0.5);
  const answer = (await call("echo", { a: [1, "é", null, true] }, weights, large)) as {
    args: [unknown, Tensor, Float32Array];
  };
  expect(answer.args[0]).toEqual({ a: [1, "é", null, true] });
  expect(answer.args[1]).toEqual(weights);
  expect(answer.args[2]).toEqual(large);
});

test("the environment was there when the interpreter started", async () => {
  expect(await call("env", "RANK")).toBe("3");
});

test("an exception keeps its class, message and traceback", async () => {
  await expect(call("boom")).rejects.toMatchObject({
    remoteName: "ValueError",
    message: "lr must be positive",
    remoteStack: expect.stringContaining("my_engines.py"),
  });
});

test("a generator's items come as a stream with its return value at the end", async () => {
  const items = engine.stream("call", request("count", 200));
  let count = 0;
  let step = await items.next();
  for (; !step.done; step = await items.next()) expect(decodeValues(step.value)).toBe(count++);
  expect(count).toBe(200);
  expect(decodeValues(step.value as Parts)).toBe("done");
});

test("health answers while a call runs", async () => {
  const sleeping = call("sleep", 1);
  let health = (await engine.health()) as { busy: boolean; method?: string };
  while (!health.busy) health = (await engine.health()) as typeof health;
  expect(health).toMatchObject({ status: "healthy", engines: ["e"], busy: true, method: "sleep" });
  await sleeping;
});

test("a death in mid-call comes with exit code and the last lines of stderr", async () => {
  const mortal = await launch({});
  await mortal.call("create_engine", encodeHostRequest({ engine: "my_engines.Engine", engineName: "e" }));
  const error = await mortal
    .call("call_stored", request("die", 7))
    .catch((thrown: unknown) => thrown as WorkerCrashedError);
  expect(error).toBeInstanceOf(WorkerCrashedError);
  expect((error as Error).message).toContain("ended before the call had ended: exit code 7");
  expect(error).toMatchObject({ where: { exitCode: 7, stderrTail: ["last words"] } });
});

test("a signal is told as a signal", async () => {
  const mortal = await launch({});
  const dead = new Promise<WorkerCrashedError>((resolve) => mortal.onEnded(resolve));
  await mortal.stop(0);
  expect((await dead).where?.signal).toBe("SIGKILL");
});
