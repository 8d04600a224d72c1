import type { DeathCause, DeviceGrant } from "@whipray/rpc";

/** What somebody has to do after an event of an actor. */
export type ActorEffect =
  /** Journal the record as it is now, then tell `saved`. */
  | { kind: "save"; actorId: string }
  | { kind: "delete"; actorId: string }
  | ActorStartEffect
  /** End the process; repeated until the node answers or is dead, then `stopped`. */
  | { kind: "stop"; actorId: string; epoch: number; nodeId: string; cause: DeathCause; graceMs?: number }
  /** Waiters look again. `ended`: why its process ended. */
  | { kind: "changed"; actorId: string; ended?: DeathCause }
  /** Its process is gone, for good or before a restart: what it made and does not outlive it ends (ray.md 3.1). */
  | { kind: "gone"; actorId: string; reason: string };

/** Start it there; the answer comes back through `started`. */
export interface ActorStartEffect {
  kind: "start";
  actorId: string;
  epoch: number;
  nodeId: string;
  nodeEpoch: number;
  leaseId: string;
  devices: readonly DeviceGrant[];
  bundleIndex: number;
  /** It was asked before and the answer was lost. */
  again?: boolean;
}

/** What came of a start. `unsent`: it certainly did not run. `unknown`: the node will say when it registers again, or is dead. */
export type StartOutcome =
  | {
      kind: "ok";
      address: string;
      inc: string;
      socket?: string | undefined;
      pid: number;
      devices?: DeviceGrant[] | undefined;
      bundleIndex?: number | undefined;
    }
  | { kind: "refused" | "unsent"; reason: string }
  | { kind: "failed"; cause: DeathCause }
  | { kind: "unknown" };
