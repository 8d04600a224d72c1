import type { DeviceTopology } from "@whipray/core";
import type { DeviceReport, NodeRow, NodeView } from "@whipray/rpc";
import { PROBE_AFTER_MS } from "./limits.ts";
import { type Claim, type NodeRecord, rowOf } from "./node-record.ts";
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

/** A node as others are told of it. */
export function knownRow({ record, state, view, seen, why }: KnownNode, nowMs: number): NodeRow {
  const report = seen && { ...seen.report, agoMs: seen.report.agoMs + Math.max(0, Math.floor(nowMs - seen.atMs)) };
  const row = rowOf(record, state, view, report);
  return state === "SUSPECT" && why !== undefined ? { ...row, suspectReason: why.slice(0, 1_024) } : row;
}

/** When the first of these can have become something else without an event; now, unless all that live are well. */
export function calmUntilMs(nodes: readonly KnownNode[], nowMs: number): number {
  const living = nodes.filter(({ state }) => state !== "DEAD");
  const calm = living.every(({ state, claims }) => state === "ALIVE" && claims.size === 0);
  return calm ? Math.min(...living.map(({ renewedAtMs }) => renewedAtMs + PROBE_AFTER_MS)) : nowMs;
}
