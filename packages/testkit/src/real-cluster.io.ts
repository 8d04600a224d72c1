import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomIds, WhiprayError } from "@whipray/core";
import { type Cluster, daemons, type InitOptions, init } from "whipray";
import { snapshot, waitUntilClean } from "./leak-check.io.ts";
import type { Leak } from "./leak-check.ts";
import { foreignWrapper, nativeWrapper, networkRefusal } from "./namespaces.io.ts";
import { linkPrefix } from "./network-plan.ts";
import { NodeNetwork } from "./node-network.io.ts";
import { RealDaemon } from "./real-daemon.io.ts";

export interface RayletSpec {
  /** Counts of the node. Default `{ CPU: 2 }`. GPU and NPU counts are fake devices. */
  resources?: Record<string, number>;
  /** A machine that exists in its tools' answers alone: `8xH100`. */
  fakeDevices?: string;
  labels?: Record<string, string>;
  /** Default `n0`, `n1`, … */
  name?: string;
  /** As if on another machine: address 127.0.0.2, and mount, IPC, host-name and pid namespaces where `unshare` allows. */
  foreign?: boolean;
  /**
   * "own": a foreign raylet has a network namespace too, with veth pairs instead of 127.0.0.2 (`networkRefusal` says whether this
   * machine allows it). At most one a cluster. Head and other raylets then listen on all addresses, in plain text.
   */
  network?: "own";
  /** Without a TCP port everybody reaches it through the head. Default true. */
  port?: boolean;
}

export interface RealClusterOptions {
  raylets: readonly RayletSpec[];
  /** Everything that has a port speaks TLS; `address` has the head's pin. */
  tls?: boolean;
  /** More environment for head and raylets. */
  env?: Record<string, string>;
  /** From the end of one look at the devices to the next. Default: the raylet's own, 10 s. */
  lookEveryMs?: number;
}

export interface RealRaylet {
  readonly nodeId: string;
  readonly name: string;
  /** As seen from the test; the raylet of another pid namespace says another one. */
  readonly pid: number;
  /** Its runtime directory, where its logs are. */
  readonly runtimeRoot: string;
  /** Folder that is its working directory and that of its actors. */
  readonly cwd: string;
  kill(signal?: NodeJS.Signals): Promise<void>;
  stop(): Promise<boolean>;
  /** Kills it if it still runs, and starts it with the same node id. */
  restart(): Promise<void>;
  /** Of one with a network of its own: its cables, for a test to pull. */
  readonly network?: NodeNetwork;
}

export interface RealHead {
  readonly pid: number;
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Kills it if it still runs, and starts it with the same directory: the same cluster, on the same port. */
  restart(): Promise<void>;
}

/** What a test has of a cluster that runs as processes. */
export interface RealCluster extends AsyncDisposable {
  /** For `init({ address })`. */
  readonly address: string;
  /** The driver's token. */
  readonly token: string;
  readonly clusterId: string;
  /** Holds everything that belongs to it; `stop` removes it. */
  readonly directory: string;
  readonly head: RealHead;
  readonly raylets: readonly RealRaylet[];
  /** The first daemon that ended though nobody here asked it to: which, how, and its last words. Pending as long as there is none. */
  readonly died: Promise<WhiprayError>;
  /** What could not be had here, such as namespaces. */
  readonly notes: readonly string[];
  /** A driver in this process. Closed by `stop` if nobody did. */
  connect(options?: Omit<InitOptions, "address" | "token">): Promise<Cluster>;
  /** The daemons' own logs, for a failed test's message. */
  logs(): string;
  /** Ends everything; what is left 10 s later is a leak. Again gives the same answer. */
  stop(): Promise<Leak[]>;
}

/** From the end of the daemons to the moment when what is left is called a leak. */
const LEAK_DEADLINE_MS = 10_000;
/** What daemons inherit of the test's environment. */
const INHERITED = ["PATH", "LANG", "LC_ALL", "WHIPRAY_TEST_RUN", "WHIPRAY_LOG_LEVEL", "NODE_COMPILE_CACHE"];

/**
 * Starts a head and raylets as real daemons on free ports, each with its own HOME, runtime directory, working directory and
 * address. They end with this process, however it ends. `await using` stops them.
 * @throws WhiprayError what a daemon failed with or, at once, that one ended while it started, with its exit and last lines; what was started
 * by then is stopped.
 */
export async function startCluster(options: RealClusterOptions): Promise<RealCluster> {
  checkNetworks(options.raylets);
  const base = mkdtempSync(join(tmpdir(), "wk-"));
  const directory = join(base, "head");
  const { clusterId, secret } = daemons.openClusterDirectory(directory);
  const tokens = daemons.clusterTokens(secret);
  const ids = randomIds();
  const notes: string[] = [];
  const places = options.raylets.map((spec, index) => ({ spec, index, root: join(base, `r${index}`) }));
  const runtimeRoots = places.map(({ root }) => join(root, "run"));
  const scope = {
    clusterId,
    directories: runtimeRoots,
    shared: runtimeRoots.flatMap((root) => [root, join(root, "host")].slice(1)),
  };
  const before = snapshot(scope);
  const started: RealDaemon[] = [];
  const died = Promise.withResolvers<WhiprayError>();
  /** Ends all starts with the first that failed, or whose head is gone. */
  const starting = new AbortController();
  let up = false;
  /** Runtime directories whose raylet was killed by somebody else. */
  const orphaned = new Set<string>();
  const own = options.raylets.findIndex((spec) => spec.network === "own");
  const network = own < 0 ? undefined : new NodeNetwork(linkPrefix(clusterId));
  const drivers: Cluster[] = [];
  const logFiles = [join(base, "head.log"), ...places.map(({ root }) => `${root}.log`)];

  const start = async (config: () => daemons.DaemonConfig, launch: daemons.LaunchOptions): Promise<RealDaemon> => {
    const orphan = (): void => {
      const known = config();
      if (known.kind === "raylet" && known.runtimeRoot !== undefined) orphaned.add(known.runtimeRoot);
    };
    try {
      const daemon = await RealDaemon.start(config, { ...launch, signal: starting.signal }, (error) => {
        orphan();
        if (!up) starting.abort(error);
        died.resolve(error);
      });
      started.push(daemon);
      return daemon;
    } catch (error) {
      orphan();
      starting.abort(error);
      throw error;
    }
  };
  const environment = (home: string): Record<string, string> => {
    mkdirSync(home, { recursive: true, mode: 0o700 });
    const inherited = INHERITED.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]));
    const own = { HOME: home, WHIPRAY_CLUSTER: clusterId, WHIPRAY_DEVICE_LOCKS: join(base, "locks") };
    return { ...Object.fromEntries(inherited), ...options.env, ...own };
  };
  const end = async (): Promise<Leak[]> => {
    await Promise.all(drivers.map((driver) => driver.close()));
    network?.mend(); // the kernel keeps connections that cannot say goodbye, and with them the namespace, for minutes
    const [head, ...others] = started;
    await Promise.all(others.map((daemon) => daemon.stop()));
    await head?.stop();
    const namespaces = network?.namespaces ?? [];
    // Who is killed leaves its files to whoever started it: they go with `base`, and what may not be left is its processes.
    const directories = runtimeRoots.filter((root) => !orphaned.has(root));
    const left = await waitUntilClean(before, { ...scope, directories, namespaces, deadlineMs: LEAK_DEADLINE_MS });
    rmSync(base, { recursive: true, force: true });
    return left;
  };

  try {
    const head = await start(
      () => ({
        kind: "head",
        stateFile: join(base, "head.json"),
        tied: true,
        directory,
        host: network ? "0.0.0.0" : "127.0.0.1",
        port: 0,
        tls: options.tls === true,
        insecurePlaintext: network !== undefined,
      }),
      { env: environment(join(base, "home")), cwd: base, logFile: logFiles[0] },
    );
    const { protocol, port: headPort, hash: pin } = new URL(head.state.url!);
    const address = options.tls === true ? `${protocol}//127.0.0.1:${headPort}${pin}` : `127.0.0.1:${headPort}`;
    const launched = await Promise.allSettled(
      places.map(async ({ spec, index, root }): Promise<RealRaylet> => {
        const { name = `n${index}`, foreign = false, resources = { CPU: 2 }, labels = {}, port = true } = spec;
        const nodeId = ids.next("node");
        const { ip, listenHost, headHost } = addressesOf(spec, network);
        const cwd = join(root, "work");
        mkdirSync(cwd, { recursive: true, mode: 0o700 });
        // What is on another machine cannot be opened here: neither by a foreign node, nor by one of this machine.
        const elsewhere = places.filter((place) => place.root !== root && (foreign || place.spec.foreign === true));
        const hidden = [...(foreign ? [directory] : []), ...elsewhere.map((place) => place.root)];
        for (const folder of hidden) mkdirSync(folder, { recursive: true, mode: 0o700 });
        const { wrapper, note } = foreign
          ? foreignWrapper({ hostName: name, hidden, cables: index === own ? network?.cables : undefined })
          : hidden.length > 0
            ? nativeWrapper(hidden)
            : { wrapper: [], note: undefined };
        if (note !== undefined) notes.push(note);
        const config = (): daemons.DaemonConfig => ({
          kind: "raylet",
          stateFile: join(root, "state.json"),
          tied: true,
          clusterId,
          nodeId,
          headUrl: `${protocol}//${headHost}:${headPort}${pin}`,
          token: tokens.raylet,
          ...(port && { listen: { host: listenHost, port: 0 } }),
          insecurePlaintext: network !== undefined,
          ip,
          name,
          resources,
          fakeDevices: spec.fakeDevices,
          labels,
          runtimeRoot: join(root, "run"),
          lookEveryMs: options.lookEveryMs,
          cwd,
        });
        const launch = { env: environment(join(root, "home")), cwd, logFile: logFiles[index + 1], wrapper };
        const daemon = await start(config, launch);
        const networked = index === own ? network : undefined;
        networked?.up(daemon.pid);
        return {
          ...(networked && { network: networked }),
          nodeId,
          name,
          cwd,
          runtimeRoot: join(root, "run"),
          get pid() {
            return daemon.pid;
          },
          kill: (signal) => daemon.kill(signal),
          stop: () => daemon.stop(),
          async restart() {
            await daemon.restart();
            networked?.up(daemon.pid);
          },
        };
      }),
    );
    starting.signal.throwIfAborted();
    up = true;
    const raylets = launched.flatMap((launch) => (launch.status === "fulfilled" ? [launch.value] : []));
    let stopping: Promise<Leak[]> | undefined;
    const stop = (): Promise<Leak[]> => {
      stopping ??= end();
      return stopping;
    };
    return {
      ...{ address, token: tokens.driver, clusterId, directory: base, raylets, died: died.promise, notes, stop },
      head: {
        get pid() {
          return head.pid;
        },
        kill: (signal) => head.kill(signal),
        restart: () => head.restart(),
      },
      async connect(more = {}) {
        const driver = await init({ ...more, address, token: tokens.driver });
        drivers.push(driver);
        return driver;
      },
      logs: () => logFiles.map((path) => `${path}\n${readFileSync(path, "utf8")}`).join("\n"),
      async [Symbol.asyncDispose]() {
        await stop();
      },
    };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Where a raylet is reached, where it listens, and where it finds the head. */
function addressesOf(spec: RayletSpec, network: NodeNetwork | undefined) {
  if (!network) {
    const ip = spec.foreign === true ? "127.0.0.2" : "127.0.0.1";
    return { ip, listenHost: ip, headHost: "127.0.0.1" };
  }
  const { head, peers } = network;
  if (spec.network === "own")
    return { ip: peers.nodeAddress, listenHost: peers.nodeAddress, headHost: head.hostAddress };
  return { ip: peers.hostAddress, listenHost: "0.0.0.0", headHost: "127.0.0.1" };
}

function checkNetworks(raylets: readonly RayletSpec[]): void {
  const owners = raylets.filter((spec) => spec.network === "own");
  const refused = owners.length > 0 ? networkRefusal() : undefined;
  if (refused !== undefined) throw new WhiprayError({ code: "UNSUPPORTED", message: refused });
  if (owners.length <= 1 && owners.every((spec) => spec.foreign === true)) return;
  const message = `network: "own" is for one raylet of a cluster, and that one is foreign`;
  throw new WhiprayError({ code: "INVALID_CONFIG", message });
}
