import { asWhiprayError, type Logger, type WhiprayError } from "@whipray/core";
import { decodeHostValue, encodeHostRequest } from "@whipray/engine";
import { type CallEngineOptions, CREATE_TIMEOUT_MS } from "./engine-calls.ts";
import { invalid, WorkerFailedError } from "./errors.ts";
import { deathOf } from "./failures.ts";
import { type MasterAddress, withFreshPort } from "./fresh-port.ts";
import { leasePorts } from "./readiness.ts";
import type { Launcher, Member } from "./role.ts";
import { backendOf, type ServerBackend, serverCommand, serverNodeArgs } from "./server-nodes.ts";

/** The engine that runs the server's further nodes (python/whipray_engine/launcher.py). */
const LAUNCHER = { engine: "whipray_engine.launcher.Launcher", engineName: "launcher" };
const PROCESS = "server";
/** The launcher's own grace before SIGKILL is 5 s. */
const STOP_TIMEOUT_MS = 15_000;
/** A node of a server runs until somebody stops it. */
const WATCH_TIMEOUT_MS = 2_000_000_000;

/** A server that runs on several nodes. */
export interface RunningServer {
  /** Set before its nodes are stopped on purpose: their end is no failure then. */
  stopped: boolean;
  /** A node ended by itself: the whole server is of no use. */
  failure?: WhiprayError;
}

/** Calls the head's own method with these arguments. */
type CallHead = (options: CallEngineOptions) => Promise<unknown>;

/**
 * A call of an instance over several nodes: `launch_server` launches on all of them, `destroy` and `teardown_server` end all. Any other
 * goes to the head, and fails when a node of the server has ended. @throws WorkerFailedError.
 */
export async function callOverNodes(
  member: Member,
  method: string,
  options: CallEngineOptions,
  callHead: CallHead,
  logger: Logger,
): Promise<unknown> {
  if (method === "launch_server") {
    const lease = async (): Promise<MasterAddress> => {
      const { ip, ports } = await leasePorts(member, "server", 1);
      return { ip, port: ports[0]! };
    };
    return withFreshPort(lease, (address) => launchServer(member, options, callHead, address), logger);
  }
  if (method === "destroy" || method === "teardown_server") {
    try {
      return await callHead(options);
    } finally {
      await stopServer(member);
    }
  }
  if (member.runningServer?.failure) throw member.runningServer.failure;
  return callHead(options);
}

/**
 * One try of `launch_server` of an instance over several nodes (areal.md 3.2): the further nodes' processes start first, with the arguments
 * that name their rank, then the head's engine launches its own with rank 0. A node that ends meanwhile fails the launch at once,
 * and what was started is stopped.
 */
async function launchServer(
  member: Member,
  options: CallEngineOptions,
  callHead: CallHead,
  { ip, port }: MasterAddress,
): Promise<unknown> {
  const { backend, args, withArgs } = serverRequest(member, options);
  await stopServer(member);
  const server: RunningServer = { stopped: false };
  member.runningServer = server;
  const nodes = member.launchers.length + 1;
  const argsOf = (rank: number) => serverNodeArgs(backend, args, { rank, nodes, ip, port });
  const failed = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal;
  const fail = (error: WhiprayError): void => {
    if (server.stopped) return;
    server.failure ??= error;
    failed.abort(error);
  };
  try {
    await Promise.all(
      member.launchers.map(async (launcher, index) => {
        await startLauncher(launcher);
        await askLauncher(launcher, "start", [
          PROCESS,
          serverCommand(backend, argsOf(index + 1), member.spec.serverModule),
        ]);
        void watch(member, launcher, index + 1, fail);
      }),
    );
    signal.throwIfAborted();
    // A launch that waits for the server's health in a loop must be let go when a node is gone.
    const rpcMeta = { interrupt: true, ...options.rpcMeta };
    return await callHead({ ...options, ...withArgs(argsOf(0)), rpcMeta, signal });
  } catch (error) {
    await stopServer(member).catch(() => {}); // the launch's own error is what the caller must see
    throw server.failure ?? deathOf(member.id, error) ?? error;
  }
}

/** Ends the further nodes of a member's server; the head's engine ends its own. */
async function stopServer(member: Member): Promise<void> {
  if (!member.runningServer) return;
  member.runningServer.stopped = true;
  member.runningServer = undefined;
  const running = member.launchers.filter((launcher) => launcher.hasEngine);
  await Promise.all(
    running.map(async (launcher) => {
      try {
        await askLauncher(launcher, "stop", [PROCESS], STOP_TIMEOUT_MS);
      } catch (error) {
        if (!deathOf(launcher.id, error)) throw error;
      }
    }),
  );
}

function serverRequest(
  { id, spec, engines }: Member,
  { engineName = id, args = [], kwargs = {} }: CallEngineOptions,
): {
  backend: ServerBackend;
  args: Readonly<Record<string, unknown>>;
  withArgs: (args: Readonly<Record<string, unknown>>) => CallEngineOptions;
} {
  const backend = spec.serverBackend ?? backendOf(engines.get(engineName) ?? "");
  if (!backend) {
    throw invalid(
      `launch_server of '${id}' spans several nodes, and nothing says whether it is sglang or vllm: name it as serverBackend in the spec`,
    );
  }
  const named = args.length === 0 && "server_args" in kwargs;
  const given = (named ? kwargs["server_args"] : args[0]) ?? {};
  if (typeof given !== "object" || Array.isArray(given))
    throw invalid("the first argument of launch_server is a map of server arguments");
  return {
    backend,
    args: given as Record<string, unknown>,
    withArgs: (own) => (named ? { kwargs: { ...kwargs, server_args: own } } : { args: [own, ...args.slice(1)] }),
  };
}

async function startLauncher(launcher: Launcher): Promise<void> {
  if (launcher.hasEngine) return;
  launcher.hasEngine = true;
  try {
    await launcher.server.call("createEngine", encodeHostRequest(LAUNCHER), { timeoutMs: CREATE_TIMEOUT_MS });
  } catch (error) {
    launcher.hasEngine = false;
    throw deathOf(launcher.id, error) ?? error;
  }
}

async function askLauncher(
  { server }: Launcher,
  method: string,
  args: unknown[],
  timeoutMs = CREATE_TIMEOUT_MS,
): Promise<unknown> {
  const { engineName } = LAUNCHER;
  return decodeHostValue(await server.call("call", encodeHostRequest({ engineName, method, args }), { timeoutMs }));
}

async function watch(
  member: Member,
  launcher: Launcher,
  rank: number,
  fail: (error: WhiprayError) => void,
): Promise<void> {
  try {
    const code = await askLauncher(launcher, "wait", [PROCESS], WATCH_TIMEOUT_MS);
    const reason = `node ${rank} of its server ended; its output is in the log of ${launcher.id}`;
    fail(new WorkerFailedError(member.id, Number(code), "", { reason }));
  } catch (error) {
    fail(deathOf(launcher.id, error) ?? asWhiprayError(error));
  }
}
