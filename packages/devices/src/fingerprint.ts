import type { Device, DeviceProcess, DeviceStats, UnusableDevice } from "./device.ts";
import type { DeviceLink } from "./link.ts";

/**
 * `ok`: the list is what this machine has. `none`: the machine surely has no device of this vendor.
 * `unknown`: the probe failed, which is not the same as zero devices (reliability, device rule 9).
 */
export type FingerprintState = "ok" | "none" | "unknown";

/** Why a probe failed. Plain data, since it is shown far from here. */
export interface ProbeFailure {
  /** `PROBE_TIMEOUT`, `PROBE_OUTPUT_LIMIT`, `PROBE_ABORTED`, `PROBE_STUCK`, `PROBE_FAILED`, `PROBE_MISSING`, `PROBE_UNREADABLE`, `PROBE_UNSUPPORTED`. */
  readonly code: string;
  readonly message: string;
}

/** What one plugin found on this machine at one moment. */
export interface Fingerprint {
  readonly vendor: string;
  readonly state: FingerprintState;
  /** Whole devices in the order of the enumeration. Empty unless the state is `ok`. */
  readonly devices: readonly Device[];
  /** Parts of split devices (MIG). Granted only where the node's own visible list names them. */
  readonly partitions: readonly Device[];
  readonly unusable: readonly UnusableDevice[];
  /** Links between `devices`, each pair once. Empty where the tool does not tell. */
  readonly links: readonly DeviceLink[];
  readonly warnings: readonly string[];
  /** The tool that was asked, as it was called: `nvidia-smi`. */
  readonly tool: string;
  /** Driver's version. */
  readonly version?: string;
  /** Time spent in tools. */
  readonly elapsedMs: number;
  readonly error?: ProbeFailure;
  /**
   * Of a failed probe: lock names of devices that the driver names all the same, by index. A device that is declared then has the lock that
   * a raylet with a working tool takes.
   */
  readonly lockNames?: Readonly<Record<number, string>>;
  /** The last probe failed, and this is what the one before found (reliability F35). */
  readonly stale?: boolean;
}

/** What `stats` found. Devices that the tool did not mention are absent. */
export interface StatsReport {
  readonly state: "ok" | "unknown";
  readonly stats: readonly DeviceStats[];
  readonly warnings: readonly string[];
  readonly elapsedMs: number;
  readonly error?: ProbeFailure;
}

/**
 * What `processes` found. `unknown`: this vendor's tool cannot tell, or the probe failed, and `error` says which; it never
 * means that nobody uses the devices.
 */
export interface ProcessReport {
  readonly state: "ok" | "unknown";
  readonly processes: readonly DeviceProcess[];
  readonly warnings: readonly string[];
  readonly elapsedMs: number;
  readonly error?: ProbeFailure;
}

/**
 * What to believe after a second look. A failed look keeps the last known devices and marks them stale; a device that a
 * good look no longer shows stays listed as unhealthy, so that its owner is told instead of losing it silently
 * (reliability F34, F35). A device keeps the uuid under which it was first seen: leases name it.
 */
export function refreshFingerprint(previous: Fingerprint, next: Fingerprint): Fingerprint {
  if (next.state === "unknown") {
    if (previous.state === "unknown") return next;
    return {
      ...previous,
      stale: true,
      warnings: next.warnings,
      elapsedMs: next.elapsedMs,
      ...(next.error && { error: next.error }),
    };
  }
  const devices = withLost(previous.devices, next.devices, next.tool);
  const partitions = withLost(previous.partitions, next.partitions, next.tool);
  if (devices.length === 0 && partitions.length === 0) return next;
  const renamed = uuidsBefore(previous.devices, next.devices);
  const links = next.links.map(({ from, to, ...link }) => ({
    from: renamed.get(from) ?? from,
    to: renamed.get(to) ?? to,
    ...link,
  }));
  return { ...next, state: "ok", devices, partitions, links };
}

function withLost(previous: readonly Device[], next: readonly Device[], tool: string): Device[] {
  const before = uuidsBefore(previous, next);
  const kept = next.map((device): Device => ({ ...device, uuid: before.get(device.uuid)! }));
  const seen = new Set(before.values());
  const lost = previous
    .filter((device) => !seen.has(device.uuid))
    .map((device): Device => ({ ...device, health: "unhealthy", healthReason: `${tool} no longer lists it` }));
  return [...kept, ...lost].sort((left, right) => left.index - right.index);
}

/**
 * What each device was called before: the same, or, since the lock name is the same also after a look that knew less or more
 * of the identity (no tool, Ascend's chips), what held its lock. A uuid that is still told is never given to another device,
 * whatever its number is now.
 */
function uuidsBefore(previous: readonly Device[], next: readonly Device[]): Map<string, string> {
  const told = new Set(next.map((device) => device.uuid));
  const byUuid = new Set(previous.map((device) => device.uuid));
  const byLock = new Map(
    previous.filter((device) => !told.has(device.uuid)).map((device) => [device.lockName, device.uuid]),
  );
  return new Map(next.map(({ uuid, lockName }) => [uuid, byUuid.has(uuid) ? uuid : (byLock.get(lockName) ?? uuid)]));
}
