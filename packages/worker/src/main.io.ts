import { readFileSync, writeFileSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { AuthenticationError, randomIds, silentLogger, systemClock, systemRandom, WhiprayError } from "@whipray/core";
import {
  dialTransport,
  type Hello,
  listenUnix,
  type Revive,
  tokenMatches,
  WireEndpoint,
  workerReady,
} from "@whipray/rpc";
import { loadActorClass, loadFunction } from "./module-loader.io.ts";
import { type ObjectAccess, openObjectClient } from "./object-access.ts";
import type { ObjectClient } from "./object-client.ts";
import { Worker } from "./worker.ts";

/**
 * When the compiled code of an actor's modules is written to the cache: after its first calls, with what they compiled. TypeScript is written at once:
 * to strip its types costs far more than to compile it, and actors that live for a moment only would pay for it each time.
 */
const COMPILED_AFTER_MS = 500;
const TYPESCRIPT = /\.[cm]?ts$/;
const STDIN = 0;
/** Where memory runs out the kernel is to end this process, which somebody hears of, and not the raylet that would tell (Ray). */
const OOM_SCORE_ADJ = "1000";

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
  preferAsVictim();
  // The first worker of an embedded cluster is started before its raylet, which ends this when it is there. For all others it is empty.
  readFileSync(STDIN);
  const nodeId = need("WHIPRAY_NODE_ID");
  const workerId = need("WHIPRAY_WORKER_ID");
  const cluster = need("WHIPRAY_CLUSTER");
  const socket = need("WHIPRAY_SOCKET");
  const tokenFile = need("WHIPRAY_TOKEN_FILE");
  const { token, accept } = JSON.parse(readFileSync(tokenFile, "utf8")) as {
    token: string;
    accept: Record<string, string>;
  };
  const ids = randomIds();
  const engines = new Map<string, { digest: string; onLink: () => void }>();

  const endpoint = new WireEndpoint({
    address: `${nodeId}/${workerId}`,
    role: "worker",
    token,
    cluster,
    pid: process.pid,
    clock: systemClock,
    ids,
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
  const home = { address: `${nodeId}/raylet`, url: `unix:${need("WHIPRAY_RAYLET_SOCKET")}`, local: true };
  const raylet = endpoint.connect({ to: home.address, url: home.url, purpose: "control" });
  let client: Promise<ObjectClient> | undefined;
  const objects: ObjectAccess = {
    client() {
      // Another raylet is reached through ours.
      const urlOf = () => Promise.resolve(home.url);
      client ??= openObjectClient({ endpoint, ids, clock: systemClock, logger: silentLogger, home, urlOf });
      return client;
    },
  };
  const worker = new Worker({
    endpoint,
    raylet,
    objects,
    nodeId,
    workerId,
    pid: process.pid,
    cluster,
    socket,
    clock: systemClock,
    async loadClass({ spec, workingCopy }) {
      const cls = await loadActorClass(spec, nodeId, workingCopy);
      // Node writes it at a clean exit only, which few workers have. It costs nothing when all was there.
      systemClock.after(TYPESCRIPT.test(spec.module) ? 0 : COMPILED_AFTER_MS, flushCompileCache);
      return cls;
    },
    loadFunction: (exported, copy) => loadFunction(exported, nodeId, copy),
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
  // Our own modules: once a machine, also where no worker lives for long.
  systemClock.after(0, flushCompileCache);
}

function admit(hello: Hello, accept: Record<string, string>, engines: ReadonlyMap<string, { digest: string }>): void {
  const digest = hello.role === "engine" ? engines.get(hello.address)?.digest : accept[hello.role];
  if (!digest || !tokenMatches(hello.token, digest)) {
    throw new AuthenticationError({ message: `Wrong token for role ${hello.role}` });
  }
}

function preferAsVictim(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
  } catch {
    // No Linux, or a sandbox that forbids it: the kernel chooses by itself.
  }
}
