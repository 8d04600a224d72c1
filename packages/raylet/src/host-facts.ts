import { toUnits, UNITS_PER_ONE, WhiprayError } from "@whipray/core";

/** What a raylet tells of its machine, limits of its cgroup respected. */
export interface HostFacts {
  readonly hostname: string;
  /** CPUs that we may use: cores, or the cgroup's quota rounded up to a whole one when that is less. */
  readonly cpus: number;
  /** Memory that we may use: available now, or what the cgroup leaves when that is less. */
  readonly memoryBytes: number;
  /** Address that other machines reach this one at. */
  readonly ip: string;
  /** `v1`, `v2` or `none`: where the limits came from (reliability F49). */
  readonly cgroup: CgroupLimits["version"];
}

/** Part of the memory that shared-memory objects may take (Ray: 30 %). The rest is the node's `memory`. */
export const OBJECT_STORE_SHARE = 0.3;
/** One `node:<ip>` of each node can be asked for, to be placed there (Ray). */
const NODE_RESOURCE_UNITS = UNITS_PER_ONE;

export interface NodeResourceOptions {
  /** Counts that somebody gave; they win over what was found. Whole numbers. */
  readonly cpus?: number | undefined;
  readonly memoryBytes?: number | undefined;
  /** Of the object store; default a share of the memory. */
  readonly objectStoreBytes?: number | undefined;
  readonly custom?: Readonly<Record<string, number>> | undefined;
}

/** @throws WhiprayError `INVALID_RESOURCES`: totals of a node are whole numbers from 0 (ray.md section 4). */
function checkTotals({ cpus, memoryBytes, objectStoreBytes, custom }: NodeResourceOptions): void {
  const given = { CPU: cpus, memory: memoryBytes, object_store_memory: objectStoreBytes, ...custom };
  const totals = Object.fromEntries(
    Object.entries(given).filter((entry): entry is [string, number] => entry[1] !== undefined),
  );
  toUnits(totals, "total of a node");
  for (const [name, value] of Object.entries(totals)) {
    if (Number.isSafeInteger(value)) continue;
    throw new WhiprayError({
      code: "INVALID_RESOURCES",
      message: `total of a node: ${name} must be a whole number; got ${value}`,
      details: { resource: name, value },
    });
  }
}

/**
 * Scalars of a node, in units: CPU, memory, object_store_memory, `node:<ip>`, `accelerator_type:<T>`, custom ones.
 * @throws WhiprayError `INVALID_RESOURCES` for a total that is no whole number from 0, or a name that is none.
 */
export function nodeScalars(
  facts: HostFacts,
  acceleratorTypes: readonly string[],
  options: NodeResourceOptions = {},
): Record<string, number> {
  checkTotals(options);
  const memoryBytes = options.memoryBytes ?? facts.memoryBytes;
  const objectStoreBytes = options.objectStoreBytes ?? Math.floor(memoryBytes * OBJECT_STORE_SHARE);
  const scalars: Record<string, number> = {
    CPU: (options.cpus ?? facts.cpus) * UNITS_PER_ONE,
    // As given (Ray); of what the machine has, the object store's part is not to be had twice.
    memory: options.memoryBytes ?? Math.max(0, memoryBytes - objectStoreBytes),
    object_store_memory: objectStoreBytes,
    [`node:${facts.ip}`]: NODE_RESOURCE_UNITS,
  };
  for (const type of acceleratorTypes) scalars[`accelerator_type:${type}`] = UNITS_PER_ONE;
  for (const [name, amount] of Object.entries(options.custom ?? {})) scalars[name] = amount * UNITS_PER_ONE;
  return Object.fromEntries(Object.entries(scalars).filter(([, units]) => units > 0));
}

export interface CgroupLimits {
  readonly version: "v1" | "v2" | "none";
  readonly cpus?: number;
  readonly memoryBytes?: number;
  readonly memoryUsedBytes?: number;
}

/** No kernel says "no limit" with a smaller number (v1: 2^63 less a page). */
const NO_LIMIT_BYTES = 2 ** 60;

/** `read` gives a file of this machine, or undefined. Pure but for it. */
export function cgroupLimits(read: (path: string) => string | undefined): CgroupLimits {
  const lines = (read("/proc/self/cgroup") ?? "").trim().split("\n");
  const unified = lines.find((line) => line.startsWith("0::"));
  if (unified && read("/sys/fs/cgroup/cgroup.controllers") !== undefined) {
    return limitsV2(parents("/sys/fs/cgroup", unified.slice(3)), read);
  }
  const folderOf = (controller: string) => {
    const line = lines.find((entry) => entry.split(":")[1]?.split(",").includes(controller));
    return line === undefined ? undefined : parents(`/sys/fs/cgroup/${controller}`, line.split(":").slice(2).join(":"));
  };
  const cpu = folderOf("cpu") ?? folderOf("cpuacct");
  const memory = folderOf("memory");
  return cpu || memory ? limitsV1(cpu ?? [], memory ?? [], read) : { version: "none" };
}

function limitsV2(folders: readonly string[], read: (path: string) => string | undefined): CgroupLimits {
  const cpus = folders.map((folder) => {
    const [quota, period] = (read(`${folder}/cpu.max`) ?? "max").trim().split(" ").map(Number);
    return quota! / period!;
  });
  return combine("v2", cpus, folders, "memory.max", "memory.current", read);
}

function limitsV1(
  cpuFolders: readonly string[],
  memoryFolders: readonly string[],
  read: (path: string) => string | undefined,
): CgroupLimits {
  const cpus = cpuFolders.map((folder) => {
    const quota = Number(read(`${folder}/cpu.cfs_quota_us`) ?? -1);
    return quota > 0 ? quota / Number(read(`${folder}/cpu.cfs_period_us`) ?? Number.NaN) : Number.NaN;
  });
  return combine("v1", cpus, memoryFolders, "memory.limit_in_bytes", "memory.usage_in_bytes", read);
}

/** The tightest limit on the way up to the root counts. */
function combine(
  version: "v1" | "v2",
  quotas: readonly number[],
  folders: readonly string[],
  limitFile: string,
  usedFile: string,
  read: (path: string) => string | undefined,
): CgroupLimits {
  let limits: CgroupLimits = { version };
  const cpus = Math.min(...quotas.filter((quota) => Number.isFinite(quota) && quota > 0));
  if (Number.isFinite(cpus)) limits = { ...limits, cpus };
  for (const folder of folders) {
    const memoryBytes = Number((read(`${folder}/${limitFile}`) ?? "max").trim());
    if (!Number.isFinite(memoryBytes) || memoryBytes >= NO_LIMIT_BYTES) continue;
    if (memoryBytes >= (limits.memoryBytes ?? Infinity)) continue;
    limits = { ...limits, memoryBytes, memoryUsedBytes: Number(read(`${folder}/${usedFile}`) ?? 0) };
  }
  return limits;
}

/** The folder and all above it, up to the mount. In a container the path may not exist; the mount's root is then our own. */
function parents(mount: string, path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "" && part !== "..");
  return Array.from({ length: parts.length + 1 }, (_, count) => [mount, ...parts.slice(0, count)].join("/"));
}
