import { homedir } from "node:os";
import {
  type Clock,
  DEVICE_RESOURCES,
  type Logger,
  type RandomSource,
  silentLogger,
  WhiprayError,
} from "@whipray/core";
import {
  builtinPlugins,
  type DevicePlugin,
  detectDevices,
  fakeMachine,
  type Probe,
  systemProbe,
} from "@whipray/devices";
import type { NodeStore } from "@whipray/objects";
import { ownPidNamespace } from "@whipray/rpc";
import { ChildProcesses } from "./child-processes.io.ts";
import type { DeviceEyes } from "./device-eyes.ts";
import { deviceLocks } from "./device-locks.io.ts";
import { deviceUser } from "./device-users.io.ts";
import type { DeviceVisibility } from "./engine-environment.ts";
import { EngineGuards } from "./engine-guards.io.ts";
import type { Secrets } from "./engine-service.ts";
import { type ThreadedGuardLink, threadedGuardLink } from "./guard-link.io.ts";
import type { Guards } from "./guards.ts";
import { readHostFacts } from "./host-facts.io.ts";
import { type HostFacts, nodeScalars } from "./host-facts.ts";
import { lastWill } from "./last-will.io.ts";
import type { LateProbe } from "./late-devices.ts";
import { lockFile } from "./lock-file.io.ts";
import { lockHolders } from "./lock-holders.io.ts";
import { LogFiles } from "./log-files.io.ts";
import type { Logs } from "./logs.ts";
import { kernelMemoryKills } from "./memory-kills.io.ts";
import { MemoryKills } from "./memory-kills.ts";
import { nodeDevices } from "./node-devices.ts";
import type { NodeDevice, NodeIdentity } from "./node-identity.ts";
import { NodeInventory } from "./node-inventory.ts";
import { packageFolders } from "./package-folders.io.ts";
import type { PackageFolders } from "./package-folders.ts";
import { PluginEyes } from "./plugin-eyes.ts";
import { pluginVisibility } from "./plugin-visibility.ts";
import { bindTest, PortFile } from "./port-file.io.ts";
import { Ports } from "./ports.ts";
import { statOf } from "./process-table.io.ts";
import { closeRuntimeDirectory, openRuntimeDirectory, type SweepReport } from "./runtime-directory.io.ts";
import { type RuntimeDirectory, runtimeDirectory, runtimeRoot } from "./runtime-directory.ts";
import { secretFiles } from "./secret-files.io.ts";
import { venvFolders } from "./venv-folders.io.ts";
import type { VenvFolders } from "./venvs.ts";

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
  /** A machine that exists in its tools' answers alone, for trying out (`fakeMachineNames`). Nodes of the same `name` have the same devices; without one they are its own. */
  readonly fakeDevices?: string;
  /** Folder that stands for `/` where device files and sysfs are looked for. Default `/`; a test gives its own. */
  readonly deviceRoot?: string;
  /** How to look at the machine. Default: by its tools and device files. A test gives a machine of its own. */
  readonly probe?: Probe;
  readonly env: Readonly<Record<string, string>>;
  /** Working directory of workers: lockfiles there say which dependencies packages find. Default: nowhere. */
  readonly cwd?: string;
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
  readonly processes: ChildProcesses;
  readonly guards: Guards;
  readonly guardLink: ThreadedGuardLink;
  readonly logs: Logs;
  readonly ports: Ports;
  readonly secrets: Secrets;
  readonly visibility: DeviceVisibility;
  /** Opens the node's object store, which is loaded then. */
  readonly objects: () => Promise<NodeStore>;
  /** None for a node without devices: there is nothing to look at. */
  readonly eyes: DeviceEyes | undefined;
  /** None when every probe told. */
  readonly late: LateProbe | undefined;
  /** Unpacked packages, and virtual environments, of runtime environments. */
  readonly packages: PackageFolders;
  readonly venvs: VenvFolders;
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
 * @throws WhiprayError as `openRuntimeDirectory` and `detectDevices`.
 */
export async function openNode(options: RealNodeOptions): Promise<RealNode> {
  const { cluster, nodeId, incarnation, version, clock, random, env, guardFile } = options;
  const { logger = silentLogger, plugins = builtinPlugins, python = "python3", resources = {} } = options;
  const directory = nodeDirectory(options);
  const path = env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin";
  const memoryKills = new MemoryKills(clock, kernelMemoryKills);
  const will = () => lastWill({ cluster, incarnation, folder: directory.node, path });
  const processes = new ChildProcesses(clock, will, memoryKills);
  const self = { pid: process.pid, startTime: statOf(process.pid)?.startTime ?? 0 };
  const owner = { cluster, nodeId, inc: incarnation, ...self };
  const swept = await openRuntimeDirectory(directory, owner, processes, logger);
  const facts = readHostFacts(options.ip);
  const name = options.name ?? facts.hostname;
  const { CPU: cpus, memory: memoryBytes, object_store_memory: objectStoreBytes, ...others } = resources;
  const { declared, custom } = split(others, plugins);
  const { fakeDevices, deviceRoot: root = "/" } = options;
  const probe =
    fakeDevices === undefined
      ? (options.probe ?? systemProbe({ environment: env, machine: name, root }))
      : fakeMachine(fakeDevices, options.name ?? nodeId);
  const detect = (asked: readonly DevicePlugin[], counts: Readonly<Record<string, number>> = {}) => {
    return detectDevices({ plugins: asked, declared: counts, probe, environment: env, nodeName: name });
  };
  const { locks, warning } = fakeDevices === undefined ? deviceLocks(env, directory.locks) : { locks: directory.locks };
  // A fake machine without a name is this node's own.
  const alone = fakeDevices !== undefined && options.name === undefined;
  const inventory = new NodeInventory({
    ...{ plugins, declared, detect, found: await detect(plugins, declared) },
    offer(found) {
      const { devices, links } = nodeDevices(found, { locks, node: directory.node }, alone);
      return { devices: devices.map((device) => leftOver(device, swept.stuck)), links };
    },
    scalars(devices) {
      const types = new Set(devices.map((device) => device.acceleratorType ?? "").filter((type) => type !== ""));
      return nodeScalars(facts, [...types], { cpus, memoryBytes, objectStoreBytes, custom });
    },
  });
  const type = inventory.offered.find((device) => device.acceleratorType)?.acceleratorType;
  // Ray's own labels, as far as nodes share them: one of its own would make placement look at each node for itself.
  const automatic = type === undefined ? {} : { "ray.io/accelerator-type": type };
  const node: NodeIdentity = {
    ...{ cluster, nodeId, incarnation, name, version, pid: process.pid, pidNamespace: ownPidNamespace() },
    ...{ hostname: facts.hostname, ip: facts.ip, url: options.url, labels: { ...automatic, ...options.labels } },
    ...{ devices: [...inventory.offered], links: inventory.links, scalars: inventory.scalars },
  };
  const guardLink = threadedGuardLink(directory.guardSocket);
  const raylet = incarnation;
  const guards = new EngineGuards({
    ...{ link: guardLink, processes, directory, clock, logger, cluster, nodeId, raylet, python, guardFile },
    env: { PATH: path },
    memoryKills,
  });
  const eyes = new PluginEyes({
    ...{ plugins, probe, devices: inventory.devices, fingerprints: inventory.found.fingerprints },
    userOf: (pid) => deviceUser(pid, incarnation),
    holders: () => lockHolders(inventory.offered, node),
  });
  inventory.onMore((asked, fingerprints) => eyes.watch(asked, fingerprints));
  const alive = (pid: number, startTime: number) => processes.alive(pid, startTime);
  const store = new PortFile(directory.ports, { raylet, ...self }, alive);
  const cacheRoot = env["XDG_CACHE_HOME"] ?? `${env["HOME"] ?? homedir()}/.cache`;
  const venvs = venvFolders(`${cacheRoot}/whipray-venvs`, self, alive);
  const spillBytes = spillQuota(env["WHIPRAY_SPILL_BYTES"]);
  const objects = async (): Promise<NodeStore> => {
    const { openObjects } = await import("./object-store.io.ts");
    return openObjects({
      ...{ cluster, nodeId, alive, clock, logger, ...self },
      capacityBytes: node.scalars["object_store_memory"] ?? 0,
      spillRoot: env["WHIPRAY_SPILL_DIRECTORY"] || `${cacheRoot}/whipray-spill`,
      spillBytes,
    });
  };
  return {
    objects,
    venvs,
    packages: packageFolders(directory.packages, options.cwd ?? directory.node),
    ...{ directory, node, facts, swept, processes, guards, guardLink },
    warnings: [...inventory.found.warnings, ...(warning && inventory.offered.length > 0 ? [warning] : [])],
    logs: new LogFiles({ directory: directory.logs, clock, logger }),
    ports: new Ports({ store, probe: bindTest, random, raylet }),
    secrets: secretFiles(directory),
    visibility: pluginVisibility(plugins, inventory.devices, env),
    eyes: inventory.devices.length === 0 && inventory.complete ? undefined : eyes,
    late: inventory.complete ? undefined : inventory,
    cacheDirectory: `${cacheRoot}/whipray-compile`,
    async close(keepLogs) {
      memoryKills.close();
      await processes.close();
      await venvs.close();
      await closeRuntimeDirectory(directory, keepLogs);
    },
  };
}

/** @throws WhiprayError `CONFIG`. */
function spillQuota(text: string | undefined): number | undefined {
  if (text === undefined || text === "") return undefined;
  const bytes = Number(text);
  if (Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
  throw new WhiprayError({
    code: "CONFIG",
    message: `WHIPRAY_SPILL_BYTES must be a whole number of bytes, 0 for no spilling; got ${JSON.stringify(text.slice(0, 64))}`,
  });
}

/** A dead node whose processes cannot be killed may have left some on the device. */
function leftOver(device: NodeDevice, stuck: readonly string[]): NodeDevice {
  const leftBy = lockFile(device.lockPath)?.owner;
  return leftBy && stuck.includes(leftBy.node) ? { ...device, leftBy } : device;
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
