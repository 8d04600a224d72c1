import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { type Clock, DEVICE_RESOURCES, type Logger, type RandomSource, silentLogger } from "@whipray/core";
import { builtinPlugins, type DevicePlugin, detectDevices, FAKE_VENDOR, systemProbe } from "@whipray/devices";
import { ChildProcesses } from "./child-processes.io.ts";
import type { DeviceVisibility } from "./engine-environment.ts";
import { EngineGuards } from "./engine-guards.io.ts";
import type { Secrets } from "./engine-service.ts";
import { type ThreadedGuardLink, threadedGuardLink } from "./guard-link.io.ts";
import type { Guards } from "./guards.ts";
import { readHostFacts } from "./host-facts.io.ts";
import { type HostFacts, nodeScalars } from "./host-facts.ts";
import { lastWill } from "./last-will.io.ts";
import { LogFiles } from "./log-files.io.ts";
import type { Logs } from "./logs.ts";
import type { NodeDevice, NodeIdentity } from "./node-identity.ts";
import { pluginVisibility } from "./plugin-visibility.ts";
import { bindTest, PortFile } from "./port-file.io.ts";
import { Ports } from "./ports.ts";
import { statOf } from "./process-table.io.ts";
import type { Processes } from "./processes.ts";
import { closeRuntimeDirectory, openRuntimeDirectory, type SweepReport } from "./runtime-directory.io.ts";
import { RAYLET_MARK, type RuntimeDirectory, runtimeDirectory, runtimeRoot } from "./runtime-directory.ts";
import { secretFiles } from "./secret-files.io.ts";

export interface RealNodeOptions {
  readonly cluster: string;
  readonly nodeId: string;
  /** Of the raylet's endpoint. */
  readonly incarnation: string;
  readonly version: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger?: Logger;
  /** Default: $XDG_RUNTIME_DIR/whipray or ~/.cache/whipray of `env`. */
  readonly runtimeRoot?: string;
  /** Default: the host's name. */
  readonly name?: string;
  /** Default: the first address that is not loopback. */
  readonly ip?: string;
  readonly url?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Counts that win over what is found: `{ CPU: 4, GPU: 2, memory: 2 ** 30, mine: 1 }`. */
  readonly resources?: Readonly<Record<string, number>>;
  readonly plugins?: readonly DevicePlugin[];
  readonly env: Readonly<Record<string, string>>;
  /** whipray_guard.py; its folder is also where the engine host is. */
  readonly guardFile: string;
  /** Interpreter of guards. Default `python3`. */
  readonly python?: string;
}

/** The real parts of a raylet on this machine, but for its endpoint and its beats. */
export interface RealNode {
  readonly directory: RuntimeDirectory;
  readonly node: NodeIdentity;
  readonly facts: HostFacts;
  readonly warnings: readonly string[];
  readonly swept: SweepReport;
  readonly processes: Processes;
  readonly guards: Guards;
  readonly guardLink: ThreadedGuardLink;
  readonly logs: Logs;
  readonly ports: Ports;
  readonly secrets: Secrets;
  readonly visibility: DeviceVisibility;
  /** Compile caches of engines. */
  readonly cacheDirectory: string;
  /** After `raylet.stop()`: removes the folder, logs too unless they are wanted. */
  close(keepLogs: boolean): Promise<void>;
}

/** Where this node's sockets will be, before anything is made: an endpoint listens on `socket`. */
export function nodeDirectory(
  options: Pick<RealNodeOptions, "cluster" | "nodeId" | "runtimeRoot" | "env">,
): RuntimeDirectory {
  const root = options.runtimeRoot ?? runtimeRoot(options.env, options.env["HOME"] ?? homedir());
  return runtimeDirectory(root, options.cluster, options.nodeId);
}

/**
 * Looks at the machine, ends what dead raylets left, and opens logs, guards and ports.
 * @throws WhiprayError as `openRuntimeDirectory`, `detectDevices` and `threadedGuardLink`.
 */
export async function openNode(options: RealNodeOptions): Promise<RealNode> {
  const { cluster, nodeId, incarnation, version, clock, random, env, guardFile } = options;
  const { logger = silentLogger, plugins = builtinPlugins, python = "python3", resources = {} } = options;
  const directory = nodeDirectory(options);
  const path = env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin";
  const processes = new ChildProcesses(clock, () => lastWill(RAYLET_MARK, incarnation, path));
  const self = { pid: process.pid, startTime: statOf(process.pid)?.startTime ?? 0 };
  const owner = { cluster, nodeId, inc: incarnation, ...self };
  const opening = openRuntimeDirectory(directory, owner, processes, logger);
  // The thread of the guards starts while we look at the machine.
  const threadStarts = opening.then(() => threadedGuardLink(directory.guardSocket));
  threadStarts.catch(() => {}); // awaited below
  const [swept, facts] = await Promise.all([opening, readHostFacts(options.ip)]);
  const name = options.name ?? facts.hostname;
  const { CPU: cpus, memory: memoryBytes, ...others } = resources;
  const { declared, custom } = split(others, plugins);
  const probe = systemProbe({ environment: env });
  const looking = detectDevices({ plugins, declared, probe, environment: env, nodeName: name });
  const found = await looking.catch(async (error: unknown) => {
    await (await threadStarts).close();
    throw error;
  });
  const devices = found.devices.map((device): NodeDevice => {
    const {
      uuid,
      index,
      resource,
      vendor,
      model,
      acceleratorType,
      memoryBytes: bytes,
      numaNode,
      health,
      lockName,
    } = device;
    // What is only declared exists in this raylet alone: nobody else can collide with it.
    const folder = vendor === FAKE_VENDOR ? directory.node : directory.locks;
    const known = { ...(bytes !== undefined && { memoryBytes: bytes }), ...(numaNode !== undefined && { numaNode }) };
    const lockPath = `${folder}/${lockName}.lock`;
    // What could not be killed may still use it.
    const stuck = swept.stuck.includes(lockHolder(lockPath) ?? "");
    return {
      uuid,
      index,
      resource,
      vendor,
      model,
      acceleratorType,
      health: stuck ? "unhealthy" : health,
      ...known,
      lockPath,
    };
  });
  const types = [...new Set(devices.map((device) => device.acceleratorType ?? "").filter((type) => type !== ""))];
  const node: NodeIdentity = {
    ...{ cluster, nodeId, incarnation, name, version, pid: process.pid },
    ...{ hostname: facts.hostname, ip: facts.ip, url: options.url, labels: options.labels ?? {} },
    scalars: nodeScalars(facts, types, { cpus, memoryBytes, custom }),
    devices,
  };
  const guardLink = await threadStarts;
  const raylet = incarnation;
  const guards = new EngineGuards({
    ...{ link: guardLink, processes, directory, clock, logger, cluster, nodeId, raylet, python, guardFile },
    env: { PATH: path },
  });
  const alive = (pid: number, startTime: number) => processes.alive(pid, startTime);
  const store = new PortFile(directory.ports, { raylet, ...self }, alive);
  return {
    ...{ directory, node, facts, warnings: found.warnings, swept, processes, guards, guardLink },
    logs: new LogFiles({ directory: directory.logs, clock, logger }),
    ports: new Ports({ store, probe: bindTest, random, raylet }),
    secrets: secretFiles(directory),
    visibility: pluginVisibility(plugins, found.devices, env),
    cacheDirectory: `${env["XDG_CACHE_HOME"] ?? `${env["HOME"] ?? homedir()}/.cache`}/whipray-compile`,
    async close(keepLogs) {
      await processes.close();
      await closeRuntimeDirectory(directory, keepLogs);
    },
  };
}

/** The node whose guard wrote the lock file last. */
function lockHolder(path: string): string | undefined {
  try {
    const { node } = JSON.parse(readFileSync(path, "utf8")) as { node?: string };
    return node;
  } catch {
    return undefined; // nobody ever held it, or its holder is writing its name: then it lives
  }
}

/** Counts of single devices go to detection, the rest are custom resources. */
function split(resources: Readonly<Record<string, number>>, plugins: readonly DevicePlugin[]) {
  const declared: Record<string, number> = {};
  const custom: Record<string, number> = {};
  for (const [name, amount] of Object.entries(resources)) {
    const single = DEVICE_RESOURCES.has(name) || plugins.some((plugin) => plugin.resource === name);
    if (single) declared[name] = amount;
    else custom[name] = amount;
  }
  return { declared, custom };
}
