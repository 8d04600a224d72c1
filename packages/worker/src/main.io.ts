import { readFileSync } from "node:fs";
import { randomIds, silentLogger, systemClock, systemRandom, WhiprayError } from "@whipray/core";
import {
  dialTransport,
  type Hello,
  listenUnix,
  type Revive,
  tokenMatches,
  WireEndpoint,
  workerReady,
} from "@whipray/rpc";
import { loadActorClass } from "./module-loader.io.ts";
import { Worker } from "./worker.ts";

/**
 * What a worker process does from its first line on. Its raylet gives it by environment: WHIPRAY_RAYLET_SOCKET, WHIPRAY_TOKEN_FILE (JSON: `token`, and
 * `accept`, the digests of the tokens that may dial it, by role), WHIPRAY_WORKER_ID, WHIPRAY_NODE_ID, WHIPRAY_CLUSTER, WHIPRAY_SOCKET.
 */
export async function workerMain(env: NodeJS.ProcessEnv, revive?: Revive): Promise<void> {
  const need = (name: string): string => {
    const value = env[name];
    if (!value)
      throw new WhiprayError({
        code: "CONFIG",
        message: `A worker needs ${name} in its environment; only a raylet starts workers`,
      });
    return value;
  };
  const nodeId = need("WHIPRAY_NODE_ID");
  const workerId = need("WHIPRAY_WORKER_ID");
  const cluster = need("WHIPRAY_CLUSTER");
  const socket = need("WHIPRAY_SOCKET");
  const tokenFile = need("WHIPRAY_TOKEN_FILE");
  const { token, accept } = JSON.parse(readFileSync(tokenFile, "utf8")) as {
    token: string;
    accept: Record<string, string>;
  };
  const engines = new Map<string, { digest: string; onLink: () => void }>();

  const endpoint = new WireEndpoint({
    address: `${nodeId}/${workerId}`,
    role: "worker",
    token,
    cluster,
    pid: process.pid,
    clock: systemClock,
    ids: randomIds(),
    random: systemRandom,
    logger: silentLogger,
    transport: dialTransport(),
    admit: (hello) => admit(hello, accept, engines),
    onLink: ({ role, address }) => {
      if (role === "engine") engines.get(address)?.onLink();
    },
  });
  await listenUnix(socket, (channel) => endpoint.accept(channel));
  const leave = (code: number): void => {
    // Nothing of the user's may hold the process back: its lease is at stake.
    process.exit(code);
  };
  const raylet = endpoint.connect({
    to: `${nodeId}/raylet`,
    url: `unix:${need("WHIPRAY_RAYLET_SOCKET")}`,
    purpose: "control",
  });
  const worker = new Worker({
    endpoint,
    raylet,
    nodeId,
    workerId,
    cluster,
    socket,
    clock: systemClock,
    loadClass: ({ spec }) => loadActorClass(spec, nodeId),
    setEnvironment: (values) => Object.assign(process.env, values),
    expectEngine: (engineId, digest, onLink) => {
      const address = `${nodeId}/${engineId}`;
      engines.set(address, { digest, onLink });
      return () => engines.delete(address);
    },
    revive,
    exit: leave,
  });
  // Without its raylet a worker has no reason to live. In the middle of a departure this is part of it.
  raylet.onClose(() => void worker.leave(0));
  process.on("SIGTERM", () => void worker.leave(5_000));
  await raylet.invoke(workerReady, { workerId, pid: process.pid, socket });
}

function admit(hello: Hello, accept: Record<string, string>, engines: ReadonlyMap<string, { digest: string }>): void {
  const digest = hello.role === "engine" ? engines.get(hello.address)?.digest : accept[hello.role];
  if (!digest || !tokenMatches(hello.token, digest)) {
    throw new WhiprayError({ code: "UNAUTHENTICATED", message: `Wrong token for role ${hello.role}` });
  }
}
