import type { DeviceInfo } from "@whipray/rpc";

/** A device of this node with the name of its lock file. */
export interface NodeDevice extends DeviceInfo {
  /** Absolute path; held by the guards of those that use the device. */
  readonly lockPath: string;
}

/** Who this node is. Fixed for the life of a raylet. */
export interface NodeIdentity {
  readonly cluster: string;
  readonly nodeId: string;
  /** Of this raylet's process. */
  readonly incarnation: string;
  /** For people; default the host's name. */
  readonly name: string;
  readonly hostname: string;
  /** Address that other machines reach this one at. */
  readonly ip: string;
  /** URL that peers dial; none when it listens on unix sockets only. */
  readonly url: string | undefined;
  readonly pid: number;
  readonly version: string;
  readonly labels: Readonly<Record<string, string>>;
  /** CPU, memory, custom resources, in units. */
  readonly scalars: Readonly<Record<string, number>>;
  readonly devices: readonly NodeDevice[];
}
