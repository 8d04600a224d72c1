import type { DeviceTopology } from "@whipray/core";
import type { DeviceReport, NodeRow, NodeView } from "@whipray/rpc";
import { PROBE_AFTER_MS } from "./limits.ts";
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

/** Before that a tick has nothing to do unless something else happens: no node that is well is silent for too long. */
export function calmUntil(nodes: ReadonlyMap<string, KnownNode>, nowMs: number): number {
  const living = [...nodes.values()].filter(({ state }) => state !== "DEAD");
  const calm = living.every(({ state, claims }) => state === "ALIVE" && claims.size === 0);
  return calm ? Math.min(...living.map(({ renewedAtMs }) => renewedAtMs + PROBE_AFTER_MS)) : nowMs;
}
