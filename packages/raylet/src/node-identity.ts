import type { LinkMatrix } from "@whipray/core";
import type { DeviceInfo } from "@whipray/rpc";
import type { LockOwner } from "./lock-table.ts";

/** A device of this node with the name of its lock file. */
export interface NodeDevice extends DeviceInfo {
  /** Absolute path; held by the guards of those that use the device. */
  readonly lockPath: string;
  /** Other raylets of this host may offer it too, so that its lock means something. */
  readonly shared?: boolean;
  /** A dead raylet whose processes on this device could not be killed: not offered until they are gone. */
  readonly leftBy?: Pick<LockOwner, "node" | "raylet">;
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
  /** Where `pid` means something; undefined on a system without pid namespaces. */
  readonly pidNamespace?: string | undefined;
  readonly version: string;
  readonly labels: Readonly<Record<string, string>>;
  /** CPU, memory, custom resources, in units. */
  readonly scalars: Readonly<Record<string, number>>;
  readonly devices: readonly NodeDevice[];
  /** How the devices reach each other. */
  readonly links?: LinkMatrix | undefined;
}
