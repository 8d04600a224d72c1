import type { DeviceTopology } from "@whipray/core";
import type { DeviceReport, NodeRow, NodeView } from "@whipray/rpc";
import type { Claim, NodeRecord } from "./node-record.ts";
import type { NodeRoom } from "./placement/room.ts";

/** What the head has of a node in memory. */
export interface KnownNode {
  record: NodeRecord;
  state: NodeRow["state"];
  view: NodeView | undefined;
  renewedAtMs: number;
  /** Known from the journal of an earlier head, not yet registered with this one. */
  returning: boolean;
  linkLost: boolean;
  /** Why it is suspect. */
  why: string | undefined;
  /** Its last view cannot be true: whatever else is well, it stays suspect until one can. */
  untrue: boolean;
  probeAtMs: number;
  gone: number;
  claims: Map<number, Claim>;
  /** Place among all nodes, by when it first came. */
  readonly order: number;
  total: NodeRoom;
  readonly topology: DeviceTopology;
  /** The last look at its devices, and when we heard of it. */
  seen: { report: DeviceReport; atMs: number } | undefined;
}
