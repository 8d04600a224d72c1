import type { DeviceGrant } from "@whipray/rpc";

/** A worker that is ready (AReaL: Worker). */
export interface Worker {
  /** `role/index`. */
  readonly id: string;
  /** Address of its node for other machines: rank 0's is MASTER_ADDR. */
  readonly ip: string;
  /**
   * AReaL's convention: [0] is the RPC port, `"0"` here because calls need none of their own; [1] is MASTER_PORT; the others are
   * free for use. Leased from the node until the worker ends.
   */
  readonly workerPorts: readonly string[];
  /** AReaL's field; empty, engines lease by name. */
  readonly enginePorts: readonly string[];
  /** The same leases by name: `master`, `extra`. */
  readonly ports: Readonly<Record<string, readonly number[]>>;
  readonly nodeId: string;
  readonly devices: readonly DeviceGrant[];
}
