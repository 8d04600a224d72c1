import type { DeviceState } from "@whipray/rpc";

/** Who a process is that uses a device. */
export type DeviceUser =
  /** It carries the mark of this raylet: an engine names its lease, a worker its id. */
  | { readonly is: "ours"; readonly pid: number; readonly leaseId?: string; readonly workerId?: string }
  | { readonly is: "foreign"; readonly pid: number; readonly name: string }
  /** There is no such process here: it has just ended, or it is of another pid namespace. */
  | { readonly is: "unseen"; readonly pid: number };

/** Who holds the lock of a device, other than this raylet. */
export interface LockHolder {
  /** `cluster_a node_b, lease lease_c (pid 7)`, or the process: `pid 7 (python3)`. */
  readonly text: string;
  /** A guard or a worker of some cluster of ours wrote its name, so this is a lease and no other program. */
  readonly lease?: true;
  /** An older incarnation of this very node: what it left has to go. */
  readonly olderIncarnation?: string;
}

/** One device as a look found it. */
export interface SeenDevice extends DeviceState {
  /** Undefined when nobody can tell: the vendor's tool does not, or it failed. */
  readonly users?: readonly DeviceUser[];
  readonly holder?: LockHolder | undefined;
}

export interface DeviceLook {
  readonly devices: readonly SeenDevice[];
  /** Why some of it is of an earlier look. */
  readonly stale?: string;
}

/** Looks at the devices of this machine. Never rejects; may take seconds, so never in a request. A test gives its own. */
export interface DeviceEyes {
  /** `first`: right after detection, whose findings count still. */
  look(first: boolean): Promise<DeviceLook>;
  /** Locks that somebody else holds now, by the uuid of their device. Fast: no tool is asked. */
  holders(): Promise<ReadonlyMap<string, LockHolder>>;
  /** Who uses each device now, by its uuid; a device of which nobody can tell is absent. Asks the vendors' tools, so it may take seconds. */
  users(): Promise<ReadonlyMap<string, readonly DeviceUser[]>>;
}
