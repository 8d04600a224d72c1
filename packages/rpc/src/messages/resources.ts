import { bool, count, type Infer, list, oneOf, optional, record, shape, str } from "../fields.ts";

/** Resource → units of 1/10 000 (bytes for memory), as `@whipray/core` counts them. */
export const unitsField = record(count(), 64);

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
  numaNode: optional(count(4_096)),
  linkDomain: optional(str(128)),
  health: oneOf("ok", "unhealthy", "unknown"),
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

/** What is free on a node: the raylet's ledger as the head sees it. `version` grows with each change. */
export const nodeViewField = shape({
  version: count(),
  /** Scalars: CPU, memory, custom. */
  free: unitsField,
  /** Free units of each device that has any; a device that is not listed is taken or quarantined. */
  devices: record(count(10_000), 4_096),
  suspect: optional(bool),
});
export type NodeView = Infer<typeof nodeViewField>;

export const DEVICES_PER_NODE_LIMIT = 1_024;
export const devicesField = list(deviceField, DEVICES_PER_NODE_LIMIT);
