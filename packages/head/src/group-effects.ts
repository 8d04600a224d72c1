import type { BundleAsk } from "@whipray/rpc";

/** What somebody has to do after an event of a group. */
export type GroupEffect =
  /** Journal the record as it is now, then tell `saved`. */
  | { kind: "save"; pgId: string }
  /** Journal it with whatever is written next: the raylets' announcements bring it back if the head dies before. */
  | { kind: "saveLater"; pgId: string }
  | { kind: "delete"; pgId: string }
  /** First phase on one node; the answer comes back through `prepared`. `claim` ends when it does. */
  | {
      kind: "prepare";
      pgId: string;
      epoch: number;
      nodeId: string;
      nodeEpoch: number;
      bundles: BundleAsk[];
      claim: number;
    }
  /** Second phase; repeated until the node answers or is dead, then `committed`. */
  | { kind: "commit"; pgId: string; epoch: number; nodeId: string; indices: number[] }
  /** Give bundles back; repeated until the node answers or is dead. Without indices: all of the group. */
  | { kind: "release"; pgId: string; epoch: number; nodeId: string; indices?: number[] }
  /** Waiters and actors look again. `lost`: why bundles of it have no place any more. */
  | { kind: "changed"; pgId: string; lost?: string }
  /** Actors in it end. */
  | { kind: "removed"; pgId: string; reason: string };
