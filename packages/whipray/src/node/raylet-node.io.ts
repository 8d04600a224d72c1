import { writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { fileURLToPath } from "node:url";
import { type Logger, randomIds, sibling, silentLogger, systemClock, systemRandom, WhiprayError } from "@whipray/core";
import { engineHostPath } from "@whipray/engine";
import {
  type ChildProcesses,
  type EarlyWorker,
  LocalDrivers,
  nodeDirectory,
  openNode,
  Raylet,
  type RealNode,
  threadedBeats,
} from "@whipray/raylet";
import {
  byteFetcher,
  dialTransport,
  type Listener,
  listenUnix,
  listenWebSocket,
  tokenDigest,
  WireEndpoint,
  withPin,
} from "@whipray/rpc";
import { ownVersion } from "../version.io.ts";
import { type Accepted, acceptedByRaylet, admitOnly, roleOf, workerToken } from "./access.ts";
import type { BeatThreadData } from "./beat-main.io.ts";
import { compileCache } from "./compile-cache.ts";
import { requireSafe } from "./safe-bind.ts";
import type { ThreadStart } from "./thread-entry.io.ts";
import { namesOf, newCertificate } from "./tls-certificate.io.ts";
import { WORKER_TOKEN, workerStart } from "./worker-start.ts";

export interface RayletNodeOptions {
  clusterId: string;
  /** Id of the node; default: a new one. */
  nodeId?: string | undefined;
  /** With `wss:` this raylet's own port speaks TLS too, with a certificate of its own whose pin the head tells the others. */
  headUrl: string;
  /** The token of the role raylet. */
  token: string;
  /** TCP port that peers dial; without it they go through the head. */
  listen?:
    | {
        host: string;
        port: number;
        /** Allows a bind beyond loopback without TLS. */
        insecurePlaintext?: boolean | undefined;
      }
    | undefined;
  /** Digests of tokens, by role, that are known before the head tells them. */
  accept?: Accepted | undefined;
  /** Incarnation of the raylet. Default: a new one. */
  incarnation?: string | undefined;
  /** A blank worker of this incarnation that is on its way already. */
  firstWorker?: ((processes: ChildProcesses) => EarlyWorker) | undefined;
  /** Settles when the head can be dialled. Default: it can. */
  headUp?: Promise<unknown> | undefined;
  /** The raylet's socket is open: drivers may come while it registers. */
  onListening?: ((unixUrl: string) => void) | undefined;
  /** Address that other machines reach this one at. */
  ip?: string | undefined;
  name?: string | undefined;
  resources?: Readonly<Record<string, number>> | undefined;
  /** A machine that exists in its tools' answers alone: `8xH100`. */
  fakeDevices?: string | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
  runtimeRoot?: string | undefined;
  /** Working directory of workers and engines. */
  cwd: string;
  env: Readonly<Record<string, string>>;
  /** Interpreter of guards and engines. Default `python3`. */
  python?: string | undefined;
  /** From the end of one look at the devices to the next. Default 10 000. */
  lookEveryMs?: number | undefined;
  logger?: Logger | undefined;
  /** A registration failed, for whatever reason; it is tried again. */
  onRefused?: ((error: WhiprayError) => void) | undefined;
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
  const { clusterId, headUrl, token, listen, env, cwd, logger = silentLogger } = options;
  const ids = randomIds();
  const nodeId = options.nodeId ?? ids.next("node");
  const services = { clock: systemClock, ids, random: systemRandom, logger };
  const accepted = { ...acceptedByRaylet(token), ...options.accept };
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
    incarnation: options.incarnation,
    cluster: clusterId,
    pid: process.pid,
    transport: dialTransport(),
    admit: (hello, channel) => {
      admitOnly(accepted)(hello);
      if (hello.role === "driver") drivers.linked(hello.address, channel.remote === "unix");
    },
    onLinkLost: ({ address }) => drivers.lost(address),
    route: (to) => {
      if (!to.startsWith(`${nodeId}/`)) return { url: headUrl };
      const socket = raylet?.socketOf(to);
      return socket === undefined ? { accepted: to } : { url: `unix:${socket}` };
    },
  });
  let raylet: Raylet | undefined;
  const drivers = new LocalDrivers(systemClock, (address) => raylet?.processGone(address));
  const listeners: Listener[] = [];
  const guardFile = fileURLToPath(new URL("./whipray_guard.py", engineHostPath()));
  let url: string | undefined;
  if (listen) {
    const { host, port } = listen;
    const names = ["localhost", "127.0.0.1", "[::1]"];
    // The key never leaves this process, and ends with it.
    const tls = headUrl.startsWith("wss:") ? await newCertificate(namesOf(host, options.ip)) : undefined;
    requireSafe(host, tls !== undefined || listen.insecurePlaintext === true);
    listeners.push(
      await listenWebSocket({
        host,
        port,
        tls,
        allowedHosts: names,
        logger,
        authorize: (presented) => roleOf(accepted)(presented),
        onChannel: (channel) => endpoint.accept(channel),
        byteStreams: (path) => {
          if (raylet) return raylet.stream(path);
          throw new WhiprayError({ code: "UNREACHABLE", message: "The raylet still starts", retryable: true });
        },
      }),
    );
    const plain = advertised(listeners[0]!.url, options.ip);
    url = tls ? withPin(plain, tls.pin) : plain;
  }
  const node = await openNode({
    ...{
      cluster: clusterId,
      nodeId,
      incarnation: endpoint.incarnation,
      version: ownVersion(),
      clock: systemClock,
      random: systemRandom,
    },
    ...{ logger, env, cwd, guardFile },
    ...definedOnly({
      runtimeRoot: options.runtimeRoot,
      name: options.name,
      ip: options.ip,
      url,
      labels: options.labels,
      resources: options.resources,
      fakeDevices: options.fakeDevices,
      python: options.python,
    }),
  });
  const workerTokens = (): string =>
    JSON.stringify({ token: workerToken(token), accept: { ...accepted, raylet: tokenDigest(token) } });
  const workerTokenFile = await node.secrets.write(WORKER_TOKEN, workerTokens());
  const beatData: BeatThreadData = { nodeId, clusterId, headUrl, token };
  const beatStart: ThreadStart = {
    entry: sibling("beat-main.io", import.meta.url).href,
    compileCache: compileCache(env, homedir()),
    data: beatData,
  };
  const beats = threadedBeats(
    sibling("thread-entry.io", import.meta.url),
    beatStart,
    systemClock,
    logger,
    node.guardLink.attach(),
  );
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
      ...{ secrets: node.secrets, visibility: node.visibility, objects: node.objects },
      ...{ eyes: node.eyes, late: node.late, bytes: byteFetcher(token) },
      ...{ packages: node.packages, venvs: node.venvs },
    },
    {
      ...{
        node: node.node,
        headUrl,
        onRefused: options.onRefused,
        cacheDirectory: node.cacheDirectory,
        firstWorker: options.firstWorker?.(node.processes),
      },
      ...workerStart({ nodeId, cluster: clusterId, incarnation: endpoint.incarnation }, directory, cwd, env),
      enginePythonPath: fileURLToPath(engineHostPath()),
      ...definedOnly({ lookEveryMs: options.lookEveryMs }),
    },
  );
  raylet.onRegistered(({ peerTokens }) => {
    if (peerTokens["driver"] !== undefined) accepted.driver = peerTokens["driver"];
    // Before the first worker starts: it reads the file when it does.
    writeFileSync(workerTokenFile, workerTokens(), { mode: 0o600 });
  });
  const running = raylet;
  const unixUrl = `unix:${directory.socket}`;
  const stop = async (reason?: string): Promise<void> => {
    await running.stop(reason);
    await Promise.all(listeners.map((listener) => listener.close()));
    await endpoint.close();
    await node.guardLink.close();
    await node.close(false);
  };
  try {
    listeners.push(await listenUnix(directory.socket, (channel) => endpoint.accept(channel)));
    await options.headUp;
    options.onListening?.(unixUrl);
    // What is relayed by the head comes over this link.
    endpoint.connect({ to: "head/head", url: headUrl, purpose: "data", restarts: true });
    options.leave?.addEventListener("abort", () => void running.stop("it was stopped"), { once: true });
    await running.start();
  } catch (error) {
    await stop("it could not start");
    throw error;
  }
  return { raylet: running, nodeId, node, unixUrl, url, stop };
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
