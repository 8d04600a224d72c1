import type { GroupEffect } from "./group-effects.ts";
import { type GroupRecord, nodesOf } from "./group-record.ts";
import type { Placement } from "./placement/request.ts";

/** Raylets that are being asked for places. */
export interface Attempt {
  readonly epoch: number;
  readonly placement: Placement;
  /** Node → whether it said yes. */
  readonly nodes: Map<string, { nodeEpoch: number; ok: boolean }>;
}

/** A group in the table, with what is not journalled. */
export interface Group {
  readonly record: GroupRecord;
  readonly order: number;
  readonly deadlineMs: number | undefined;
  /** The journal has its creation. */
  durable: boolean;
  attempt: Attempt | undefined;
}

/** From everywhere: where its bundles are, and where it is being prepared. */
export function releaseAll({ record, attempt }: Group): GroupEffect[] {
  const nodeIds = new Set([...nodesOf(record), ...(attempt?.nodes.keys() ?? [])]);
  return [...nodeIds].map((nodeId) => ({ kind: "release", pgId: record.pgId, epoch: record.epoch, nodeId }));
}
