import { type Device, type DeviceStats, lockNameOf, type UnusableDevice } from "./device.ts";
import { machineIdentity } from "./machine-identity.ts";
import { placeOf } from "./pci.ts";
import type { Probe } from "./probe.ts";
import { DEVICE_LIMIT } from "./tool-lines.ts";
import { WarningList } from "./warning-list.ts";

/** One device as a vendor's tool describes it. What the tool does not tell is absent, never 0. */
export interface ToolRow
  extends Omit<DeviceStats, "uuid" | "health" | "healthReason" | "xids">,
    Pick<Device, "pciAddress" | "numaNode" | "cpuAffinity"> {
  readonly index: number;
  /** Product name; empty when not told. */
  readonly name: string;
  /** An identity of the vendor that no two devices in the world share. */
  readonly uuid?: string;
  /** Number of a part that is granted by itself: a core of a chip. */
  readonly part?: number;
  /** Number of its device file. The lock goes by it, since it is known with and without the tool. */
  readonly file?: number;
  /** Device files that a process has open while it uses the device. */
  readonly files?: readonly string[];
  /** Why the device must not be granted. */
  readonly fault?: string;
  /** The tool says nothing about health, not even by its silence: a device file. */
  readonly untold?: boolean;
}

/** What a parser made of one output. */
export interface ToolOutput {
  readonly rows: readonly ToolRow[];
  /** Devices that the tool names but nobody can use. */
  readonly unusable: readonly UnusableDevice[];
  readonly warnings: readonly string[];
  /** Driver's version. */
  readonly version?: string;
}

/** Collects rows; a device whose number, identity or place is another's is not taken, since it would be granted twice. */
export class RowList {
  readonly warnings = new WarningList();
  readonly #rows: ToolRow[] = [];
  readonly #unusable: UnusableDevice[] = [];

  add(row: ToolRow): void {
    const { index, uuid, pciAddress, part } = row;
    const twin = this.#rows.find(
      (other) =>
        other.index === index ||
        (uuid !== undefined && other.uuid === uuid) ||
        (pciAddress !== undefined && other.pciAddress === pciAddress && other.part === part),
    );
    if (twin) this.warnings.add(`device ${index} is device ${twin.index} again and is ignored`);
    else if (this.#rows.length >= DEVICE_LIMIT)
      this.warnings.add(`devices beyond the limit of ${DEVICE_LIMIT} ignored`);
    else this.#rows.push(row);
  }

  unusable(device: UnusableDevice): void {
    this.warnings.add(device.reason);
    if (this.#unusable.length < DEVICE_LIMIT) this.#unusable.push(device);
  }

  output(version?: string): ToolOutput {
    const rows = [...this.#rows].sort((left, right) => left.index - right.index);
    return { rows, unusable: this.#unusable, warnings: this.warnings.list(), ...(version && { version }) };
  }
}

/** What a row is a device of. */
export interface RowKind {
  readonly vendor: string;
  readonly resource: string;
  /** Begins identities that are the machine's own: `AMD` → `AMD-0000:83:00.0@gpu-01`. */
  readonly prefix: string;
  readonly acceleratorType: (name: string) => string;
}

/**
 * By the vendor's identity, else by the place on the bus, else by the number. The lock of a part goes by its number, which
 * is known also where the place is not, and that of a device with a file by the file's: one device, one lock, whether or not
 * this node has the tool.
 */
export function rowIdentity(probe: Probe, kind: RowKind, row: ToolRow): Pick<Device, "uuid" | "lockName"> {
  const identity = ownIdentity(probe, kind, row);
  if (row.file === undefined) return identity;
  return { uuid: identity.uuid, lockName: machineIdentity(probe, `${kind.prefix}-file-${row.file}`).lockName };
}

function ownIdentity(probe: Probe, { prefix }: RowKind, row: ToolRow): Pick<Device, "uuid" | "lockName"> {
  const { index, part, uuid, pciAddress } = row;
  if (uuid !== undefined) return { uuid, lockName: lockNameOf(uuid) };
  const place = pciAddress ?? String(index);
  if (part === undefined) return machineIdentity(probe, `${prefix}-${place}`);
  const { lockName } = machineIdentity(probe, `${prefix}-part-${index}`);
  return { uuid: machineIdentity(probe, `${prefix}-${place}-${part}`).uuid, lockName };
}

export async function rowDevice(probe: Probe, kind: RowKind, row: ToolRow): Promise<Device> {
  const { index, name, fault, untold, pciAddress, numaNode, cpuAffinity, memoryTotalBytes, files } = row;
  return {
    ...rowIdentity(probe, kind, row),
    index,
    resource: kind.resource,
    vendor: kind.vendor,
    model: name || kind.vendor,
    acceleratorType: kind.acceleratorType(name),
    health: fault ? "unhealthy" : untold ? "unknown" : "ok",
    ...(fault && { healthReason: fault }),
    ...(memoryTotalBytes !== undefined && { memoryBytes: memoryTotalBytes }),
    ...(numaNode !== undefined && { numaNode }),
    ...(cpuAffinity !== undefined && { cpuAffinity }),
    ...(await placeOf(probe, pciAddress)),
    ...(files && { files }),
  };
}

export function rowStats(uuid: string, row: ToolRow): DeviceStats {
  const { utilization, memoryUsedBytes, memoryTotalBytes, temperatureC, powerW, eccErrors, fault, untold } = row;
  return {
    uuid,
    health: fault ? "unhealthy" : untold ? "unknown" : "ok",
    ...(fault && { healthReason: fault }),
    ...(utilization !== undefined && { utilization }),
    ...(memoryUsedBytes !== undefined && { memoryUsedBytes }),
    ...(memoryTotalBytes !== undefined && { memoryTotalBytes }),
    ...(temperatureC !== undefined && { temperatureC }),
    ...(powerW !== undefined && { powerW }),
    ...(eccErrors !== undefined && { eccErrors }),
  };
}
