import { LINK_KINDS_LIMIT, LINKED_DEVICES_LIMIT } from "@whipray/core";
import { bool, count, type Infer, limitedList, list, oneOf, optional, real, record, shape, str } from "../fields.ts";

/** Resource → units of 1/10 000 (bytes for memory), as `@whipray/core` counts them. */
export const unitsField = record(count(), 64);

/** Characters of a list of CPUs; a longer one is not told. */
export const CPU_LIST_LIMIT_CHARS = 1_024;

const healthField = oneOf("ok", "unhealthy", "unknown");

/** One accelerator of a node. Identity is `uuid`; `index` is for people. */
export const deviceField = shape({
  uuid: str(256),
  index: count(1_000_000),
  /** Resource that it counts as: GPU, NPU, … */
  resource: str(64),
  vendor: str(64),
  model: str(256),
  acceleratorType: optional(str(128)),
  memoryBytes: optional(count()),
  pciAddress: optional(str(64)),
  numaNode: optional(count(4_096)),
  /** CPUs next to it, as Linux writes lists of them: `0-31,64-95`. */
  cpuAffinity: optional(str(CPU_LIST_LIMIT_CHARS)),
  /** Devices that reach each other over a fabric share one. */
  linkDomain: optional(str(128)),
  health: healthField,
  /** Why the health is not `ok`. */
  healthReason: optional(str(512)),
});
export type DeviceInfo = Infer<typeof deviceField>;

/** A share of one device: `units` 10 000 is the whole of it. */
export const deviceGrantField = shape({
  uuid: str(256),
  index: count(1_000_000),
  resource: str(64),
  units: count(10_000),
});
export type DeviceGrant = Infer<typeof deviceGrantField>;

/** `STRICT`: all devices of a bundle, or of an actor, in one link domain. Absent is `ANY`. */
export const linkRuleField = oneOf("ANY", "STRICT");

/** How the devices of a node reach each other (`LinkMatrix` of core): one character a pair, in the order of `devices`. */
export const linkMatrixField = shape({
  kinds: list(shape({ name: str(32), score: count(), fabric: bool }), LINK_KINDS_LIMIT),
  pairs: str((LINKED_DEVICES_LIMIT * (LINKED_DEVICES_LIMIT - 1)) / 2),
});

/**
 * Why a device is not offered. `quarantined`: something runs on it that cannot be ended; `unhealthy`: the vendor's tool says so;
 * `busy`: a process uses it that holds no lease of it; `locked`: another cluster, raylet or program holds its lock.
 */
const withheldField = shape({ kind: oneOf("quarantined", "unhealthy", "busy", "locked"), reason: str(512) });
export type Withheld = Infer<typeof withheldField>;

/** What one device does, as the last look found it. A value that the tool does not tell is absent. */
export const deviceStateField = shape({
  uuid: str(256),
  health: healthField,
  healthReason: optional(str(512)),
  /** Unhealthy for so long that its owners were ended. */
  lost: optional(bool),
  /** 0 to 1. */
  utilization: optional(real),
  memoryUsedBytes: optional(count()),
  memoryTotalBytes: optional(count()),
  temperatureC: optional(real),
  powerW: optional(real),
  /** Uncorrected memory errors since the driver was loaded. */
  eccErrors: optional(count()),
  /** NVIDIA's error numbers in the kernel's log that call for a quarantine. */
  xids: optional(list(count(), 16)),
  /** Processes that use it, ours and others. */
  pids: optional(list(count(), 64)),
});
export type DeviceState = Infer<typeof deviceStateField>;

/** What is free on a node: the raylet's ledger as the head sees it. `version` grows with each change. */
export const nodeViewField = shape({
  version: count(),
  /** Scalars: CPU, memory, custom. */
  free: unitsField,
  /** Free units of each device that has any; a device that is not listed is taken or quarantined. */
  devices: record(count(10_000), 4_096),
  suspect: optional(bool),
  /** Devices that are not offered, whoever holds them. */
  withheld: optional(record(withheldField, 4_096)),
});
export type NodeView = Infer<typeof nodeViewField>;

export const DEVICES_PER_NODE_LIMIT = 1_024;
export const devicesField = limitedList(deviceField, DEVICES_PER_NODE_LIMIT, "devices a node");

export const labelsField = record(str(256), 256);
/** Selectors that are tried in their order. */
export const selectorsField = limitedList(labelsField, 16, "label selectors");
