import type { DeviceStatus } from "../device-status.ts";

/** What one vendor's detection found, and how. */
export interface VendorReport {
  vendor: string;
  resource: string;
  /** `unknown`: the look failed, which is not the same as no device. */
  state: "ok" | "none" | "unknown";
  tool: string;
  version?: string | undefined;
  elapsedMs: number;
  devices: number;
  error?: { code: string; message: string } | undefined;
  warnings: readonly string[];
  unusable: readonly string[];
}

/** How each two devices of a machine reach each other. */
export interface TopologyReport {
  names: string[];
  /** One row a device: `NV18`, `SYS`; `-` for itself, `?` for what nobody knows. */
  links: string[][];
  numaNodes: (number | undefined)[];
  /** CPUs next to each device: `0-31,64-95`. */
  cpuAffinity: (string | undefined)[];
}

export interface ListenerReport {
  address: string;
  port: number;
  /** Undefined when the process belongs to somebody else. */
  pid?: number | undefined;
  process?: string | undefined;
  /** Of ours: `head` or `raylet`. */
  daemon?: string | undefined;
}

export interface LimitReport {
  name: string;
  value: string;
  /** Why it is too small; undefined when it is not. */
  short?: string | undefined;
}

export interface DaemonReport {
  kind: string;
  pid: number;
  runs: boolean;
  state: string;
  /** Why it is not ready. */
  reason?: string | undefined;
  url?: string | undefined;
  /** The imagined machine whose devices it offers. */
  fakeDevices?: string | undefined;
}

export interface ClusterReport {
  /** `none`: no address is known. */
  state: "up" | "none" | "unreachable";
  address?: string | undefined;
  error?: string | undefined;
  nodes: {
    name: string;
    id: string;
    state: string;
    devices: DeviceStatus[];
    topology?: TopologyReport | undefined;
    stale?: string | undefined;
  }[];
}

/** What `doctor --json` prints. Keys are stable. */
export interface DoctorReport {
  version: string;
  at: string;
  host: {
    name: string;
    node: string;
    kernel: string;
    cpus: number;
    memoryBytes: number;
    cgroup: string;
    python?: string | undefined;
  };
  detection: {
    vendors: VendorReport[];
    devices: DeviceStatus[];
    warnings: readonly string[];
    elapsedMs: number;
    /** The imagined machine that was looked at instead of this one: asked for, or what the raylet here was started with. */
    fake?: string | undefined;
    error?: string | undefined;
  };
  topology?: TopologyReport | undefined;
  limits: LimitReport[];
  daemons: DaemonReport[];
  listeners: ListenerReport[];
  cluster: ClusterReport;
  /** What is wrong, worst first; empty when nothing is. */
  problems: string[];
  verdict: string;
}

/** What is wrong with this machine and its cluster, as sentences. Pure. */
export function problemsOf(report: Omit<DoctorReport, "problems" | "verdict">): string[] {
  const { detection, limits, daemons, cluster, host } = report;
  const problems: string[] = [];
  if (detection.error !== undefined) problems.push(`devices cannot be detected: ${detection.error}`);
  for (const { vendor, state, error } of detection.vendors) {
    if (state === "unknown") problems.push(`${vendor}: devices are not known: ${error?.message ?? "the probe failed"}`);
  }
  for (const device of detection.devices) problems.push(...notOffered("here", device));
  for (const { name, state, devices, stale } of cluster.nodes) {
    if (state === "DEAD") continue;
    if (state !== "ALIVE") problems.push(`node ${name} is ${state}`);
    if (stale !== undefined) problems.push(`node ${name}: the last look at its devices failed: ${stale}`);
    for (const device of devices) problems.push(...notOffered(name, device));
  }
  if (cluster.state === "unreachable") problems.push(`the head ${cluster.address} cannot be reached: ${cluster.error}`);
  for (const { kind, pid, runs, reason } of daemons) {
    if (runs && reason !== undefined) problems.push(`the ${kind} ${pid} is not ready: ${reason}`);
    if (!runs)
      problems.push(`the ${kind} ${pid} that was started here is gone without a goodbye; "whipray stop" clears up`);
  }
  if (host.python === undefined) problems.push("python3 is not on the PATH: engines cannot start");
  for (const { name, short } of limits) if (short !== undefined) problems.push(`${name}: ${short}`);
  return problems;
}

function notOffered(where: string, { resource, index, state, reason }: DeviceStatus): string[] {
  if (state === "ok" || state === "unknown") return [];
  return [`${where}: ${resource} ${index} is ${state}${reason === undefined ? "" : `: ${reason}`}`];
}

/** `8 GPU, 4 NPU`; empty for none. */
function counted(devices: readonly DeviceStatus[]): string {
  const kinds = Map.groupBy(devices, (device) => device.resource);
  return [...kinds].map(([resource, { length }]) => `${length} ${resource}`).join(", ");
}

/** One line. */
export function verdictOf(report: Pick<DoctorReport, "detection" | "cluster">, problems: readonly string[]): string {
  const { devices, fake } = report.detection;
  const found = `${counted(devices) || "no accelerator"}${fake === undefined ? "" : ` (imagined: ${fake})`}`;
  const alive = report.cluster.nodes.filter((node) => node.state === "ALIVE");
  const offered = counted(alive.flatMap((node) => node.devices));
  const nodes = `${alive.length} ${alive.length === 1 ? "node" : "nodes"}`;
  const up = `a cluster of ${nodes}${offered && ` with ${offered}`} is up`;
  const cluster = report.cluster.state === "up" ? up : "no cluster is up";
  if (problems.length === 0) return `nothing is wrong: ${found} here, ${cluster}`;
  return `${problems.length} ${problems.length === 1 ? "thing is" : "things are"} wrong; ${found} here, ${cluster}`;
}
