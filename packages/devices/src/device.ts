import { createHash } from "node:crypto";

/** `unhealthy`: must not be granted and is drained. `unknown`: the vendor's tool said nothing; may be granted. */
export type DeviceHealth = "ok" | "unhealthy" | "unknown";

/** One accelerator of this machine. Plain data: it crosses wires as it is. */
export interface Device {
  /**
   * Identity, stable over reboots, drivers and renumbering: NVIDIA's UUID; for Ascend card, chip and device number.
   * Leases and locks name this, never the index (reliability F36).
   */
  readonly uuid: string;
  /** Number in the vendor's enumeration now. For people, and for variables that only take numbers. */
  readonly index: number;
  /** Ray's resource name: `GPU`, `NPU`, … */
  readonly resource: string;
  /** Name of the plugin that found it: `nvidia`, `ascend`, `fake`. */
  readonly vendor: string;
  /** Product name as the tool prints it. */
  readonly model: string;
  /** Ray's short type, for `accelerator_type:<T>`: `H100`, `Ascend910B3`; `fake` for a declared device. */
  readonly acceleratorType: string;
  /** Device memory; host memory for a device that shares it (a warning says so). Absent when the tool did not say. */
  readonly memoryBytes?: number;
  /** `dddd:bb:dd.f`, lower case. */
  readonly pciAddress?: string;
  readonly numaNode?: number;
  /** CPUs next to the device, as Linux writes lists of them: `0-31,64-95`. */
  readonly cpuAffinity?: string;
  readonly health: DeviceHealth;
  /** Why the health is not `ok`. */
  readonly healthReason?: string;
  /** Safe name for the lock file of this device, without folder and ending. Two devices never share one. */
  readonly lockName: string;
  /** Device files that a process has open while it uses the device. Absent where none stands for it alone. */
  readonly files?: readonly string[];
  /** Declared and not found, on a machine that has or may have such devices: its number means one of those. */
  readonly onTrust?: true;
}

/** Something that the tool named but that nobody can be given as a whole device. */
export interface UnusableDevice {
  readonly index?: number;
  readonly uuid?: string;
  readonly pciAddress?: string;
  /** One sentence for people: faulty, or split into partitions. */
  readonly reason: string;
}

/** What one device is doing. A value that the tool does not tell is absent, never 0. */
export interface DeviceStats {
  readonly uuid: string;
  readonly health: DeviceHealth;
  /** Why the health is not `ok`. */
  readonly healthReason?: string;
  /** Busy part of the last sample period, 0 to 1. */
  readonly utilization?: number;
  readonly memoryUsedBytes?: number;
  readonly memoryTotalBytes?: number;
  readonly temperatureC?: number;
  readonly powerW?: number;
  /** Uncorrected memory errors since the driver was loaded. Above 0 the health is `unhealthy`. */
  readonly eccErrors?: number;
  /** NVIDIA's error numbers of this device in the kernel's log that call for a quarantine: 48, 63, 79, 94, 95. */
  readonly xids?: readonly number[];
}

/** A process that uses a device, as the vendor's driver counts it: it need not be one of ours. */
export interface DeviceProcess {
  /** Of the device. */
  readonly uuid: string;
  /** In the namespace of the driver's host: inside a container it may mean nothing or another process. */
  readonly pid: number;
  /** As the tool prints it. */
  readonly name?: string;
  /** Device memory of this process. */
  readonly memoryUsedBytes?: number;
}

/** A file name may have 255 bytes; the lock's folder and ending are not ours. */
const LOCK_NAME_LIMIT_CHARS = 200;
const LOCK_NAME_SAFE = /[A-Za-z0-9-]/;

/**
 * Device identity → file name out of `[A-Za-z0-9-_]`, at most 200 characters. Other characters become `_code_`, so that
 * different identities never meet in one file and none can leave the folder.
 */
export function lockNameOf(identity: string): string {
  let name = "";
  for (const character of identity) {
    name += LOCK_NAME_SAFE.test(character) ? character : `_${character.codePointAt(0)!.toString(16)}_`;
  }
  if (name.length <= LOCK_NAME_LIMIT_CHARS) return name === "" ? "_" : name;
  return `${name.slice(0, LOCK_NAME_LIMIT_CHARS - 33)}_${createHash("sha256").update(identity).digest("hex").slice(0, 32)}`;
}
