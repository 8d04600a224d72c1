import { writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { fileURLToPath } from "node:url";
import { type Logger, randomIds, silentLogger, systemClock, systemRandom } from "@whipray/core";
import { engineHostPath } from "@whipray/engine";
import { nodeDirectory, openNode, Raylet, type RealNode, threadedBeats } from "@whipray/raylet";
import { dialTransport, type Listener, listenUnix, listenWebSocket, tokenDigest, WireEndpoint } from "@whipray/rpc";
import { acceptedByRaylet, admitOnly, roleOf, workerToken } from "./access.ts";
import type { BeatThreadData } from "./beat-main.io.ts";
import { compileCache } from "./compile-cache.ts";
import { requireSafe } from "./safe-bind.ts";
import { sibling } from "./sibling.ts";
import type { ThreadStart } from "./thread-entry.io.ts";

export interface RayletNodeOptions {
  clusterId: string;
  /** Id of the node; default: a new one. */
  nodeId?: string | undefined;
  headUrl: string;
  /** The token of the role raylet. */
  token: string;
  /** PEM of the authority of a `wss:` head. */
  ca?: string | undefined;
  /** TCP port that peers dial; without it they go through the head. */
  listen?:
    | {
        host: string;
        port: number;
        tls?: { cert: string; key: string } | undefined;
        /** Allows a bind beyond loopback without TLS. */
        insecurePlaintext?: boolean | undefined;
      }
    | undefined;
  /** Address that other machines reach this one at. */
  ip?: string | undefined;
  name?: string | undefined;
  resources?: Readonly<Record<string, number>> | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
  runtimeRoot?: string | undefined;
  /** Working directory of workers and engines. */
  cwd: string;
  env: Readonly<Record<string, string>>;
  /** Interpreter of guards and engines. Default `python3`. */
  python?: string | undefined;
  logger?: Logger | undefined;
  /** Aborted when the raylet is to leave, also while it still tries to reach its head. */
  leave?: AbortSignal | undefined;
}

export interface RayletNode {
  readonly raylet: Raylet;
  readonly nodeId: string;
  readonly node: RealNode;
  readonly unixUrl: string;
  readonly url: string | undefined;
  stop(reason?: string): Promise<void>;
}

/** Starts a raylet with its sockets and threads, and registers it. @throws WhiprayError what looking at the machine, listening or registering threw. */
export async function startRayletNode(options: RayletNodeOptions): Promise<RayletNode> {
  const { clusterId, headUrl, token, ca, listen, env, cwd, logger = silentLogger } = options;
  const ids = randomIds();
  const nodeId = options.nodeId ?? ids.next("node");
  const services = { clock: systemClock, ids, random: systemRandom, logger };
  const accepted = acceptedByRaylet(token);
  const directory = nodeDirectory({
    cluster: clusterId,
    nodeId,
    env,
    ...(options.runtimeRoot !== undefined && { runtimeRoot: options.runtimeRoot }),
  });
  const endpoint = new WireEndpoint({
    ...services,
    address: `${nodeId}/raylet`,
    role: "raylet",
    token,
    cluster: clusterId,
    pid: process.pid,
    transport: dialTransport({ ca }),
    admit: admitOnly(accepted),
    route: (to) => {
      if (!to.startsWith(`${nodeId}/`)) return { url: headUrl };
      const socket = raylet?.socketOf(to);
      return socket === undefined ? { accepted: to } : { url: `unix:${socket}` };
    },
  });
  let raylet: Raylet | undefined;
  const listeners: Listener[] = [];
  const guardFile = fileURLToPath(new URL("./whipray_guard.py", engineHostPath()));
  let url: string | undefined;
  if (listen) {
    requireSafe(listen.host, listen.tls !== undefined || listen.insecurePlaintext === true);
    const names = ["localhost", "127.0.0.1", "[::1]"];
    const { host, port, tls } = listen;
    listeners.push(
      await listenWebSocket({
        host,
        port,
        tls,
        allowedHosts: names,
        authorize: (presented) => roleOf(accepted)(presented),
        onChannel: (channel) => endpoint.accept(channel),
      }),
    );
    url = advertised(listeners[0]!.url, options.ip);
  }
  const node = await openNode({
    ...{
      cluster: clusterId,
      nodeId,
      incarnation: endpoint.incarnation,
      version: "0.1.0",
      clock: systemClock,
      random: systemRandom,
    },
    ...{ logger, env, guardFile },
    ...definedOnly({
      runtimeRoot: options.runtimeRoot,
      name: options.name,
      ip: options.ip,
      url,
      labels: options.labels,
      resources: options.resources,
      python: options.python,
    }),
  });
  const workerTokenFile = await node.secrets.write("worker-token", "");
  const beatData: BeatThreadData = { nodeId, clusterId, headUrl, token, ca };
  const NODE_COMPILE_CACHE = compileCache(env, homedir());
  const beatStart: ThreadStart = {
    entry: sibling("beat-main.io").href,
    compileCache: NODE_COMPILE_CACHE,
    data: beatData,
  };
  const beats = threadedBeats(sibling("thread-entry.io"), beatStart, systemClock, logger, node.guardLink.attach());
  raylet = new Raylet(
    {
      ...{
        endpoint,
        ...services,
        beats,
        processes: node.processes,
        guards: node.guards,
        logs: node.logs,
        ports: node.ports,
      },
      ...{ secrets: node.secrets, visibility: node.visibility },
    },
    {
      ...{
        node: node.node,
        headUrl,
        workerEntry: fileURLToPath(sibling("worker-entry.io")),
        nodePath: process.execPath,
        workerTokenFile,
        cwd,
        env: { ...env, NODE_COMPILE_CACHE },
      },
      ...{ rayletSocket: directory.socket, workerSocket: directory.workerSocket, cacheDirectory: node.cacheDirectory },
      enginePythonPath: fileURLToPath(engineHostPath()),
    },
  );
  raylet.onRegistered(({ peerTokens }) => {
    if (peerTokens["driver"] !== undefined) accepted.driver = peerTokens["driver"];
    // Before the first worker starts: it reads the file when it does.
    writeFileSync(
      workerTokenFile,
      JSON.stringify({ token: workerToken(token), accept: { ...accepted, raylet: tokenDigest(token) } }),
      { mode: 0o600 },
    );
  });
  const running = raylet;
  const stop = async (reason?: string): Promise<void> => {
    await running.stop(reason);
    await Promise.all(listeners.map((listener) => listener.close()));
    await endpoint.close();
    await node.guardLink.close();
    await node.close(false);
  };
  try {
    listeners.push(await listenUnix(directory.socket, (channel) => endpoint.accept(channel)));
    // What is relayed by the head comes over this link.
    endpoint.connect({ to: "head/head", url: headUrl, purpose: "data", restarts: true });
    options.leave?.addEventListener("abort", () => void running.stop("it was stopped"), { once: true });
    await running.start();
  } catch (error) {
    await stop("it could not start");
    throw error;
  }
  return { raylet: running, nodeId, node, unixUrl: `unix:${directory.socket}`, url, stop };
}

/** What peers dial: a wildcard address means nothing to them. */
function advertised(url: string, ip: string | undefined): string {
  const { protocol, hostname, port } = new URL(url);
  const wildcard = hostname === "0.0.0.0" || hostname === "[::]";
  if (!wildcard || ip === undefined) return url;
  return `${protocol}//${ip.includes(":") ? `[${ip}]` : ip}:${port}`;
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };
function definedOnly<T extends object>(values: T): Defined<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<T>;
}
