import type { GroupRecord } from "./group-record.ts";
import type { Placement } from "./placement/request.ts";

/** Nodes that are asked to hold a group, and what they answered. */
export interface Attempt {
  readonly epoch: number;
  readonly placement: Placement;
  /** Node → whether it said yes. */
  readonly nodes: Map<string, { nodeEpoch: number; ok: boolean }>;
}

/** A group as `GroupTable` has it: what is journalled, and what is under way. */
export interface Group {
  readonly record: GroupRecord;
  readonly order: number;
  readonly deadlineMs: number | undefined;
  /** The journal has its creation. */
  durable: boolean;
  attempt: Attempt | undefined;
}
