import type { GroupRecord } from "./group-record.ts";
import type { Placement } from "./placement/request.ts";

/** A try to place what a group lacks, until all raylets concerned have said yes or one no. */
export interface Attempt {
  readonly epoch: number;
  readonly placement: Placement;
  /** Node → whether it said yes. */
  readonly nodes: Map<string, { nodeEpoch: number; ok: boolean }>;
}

/** What the head has of a placement group in memory. */
export interface KnownGroup {
  readonly record: GroupRecord;
  readonly order: number;
  readonly deadlineMs: number | undefined;
  /** The journal has its creation. */
  durable: boolean;
  attempt: Attempt | undefined;
}
