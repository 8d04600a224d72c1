import type { ObjectLife } from "./sim-objects.ts";

/** Below this no node is given up and no session ends: a silent node is dead after 10 s, a silent session after 30. */
const BROKEN_LIMIT_MS = 9_000;

/** An object that is asked for is not there any more. */
export const NOT_THERE: ReadonlySet<string> = new Set(["OBJECT_LOST", "OBJECT_FREED", "OWNER_DIED"]);

/** What may become of a question for an object beside its value. Anything else is a mistake of ours. */
export const MAY_END_WITH: ReadonlySet<string> = new Set([
  ...NOT_THERE,
  ...["TIMEOUT", "DEADLINE_EXCEEDED", "UNREACHABLE", "OUTCOME_UNKNOWN", "GOODBYE", "NODE_DIED", "NO_NODE"],
  ...["OBJECT_STORE_FULL", "OUT_OF_DISK"],
]);

/**
 * Whether nothing happened that could have ended an object: nobody freed it, its owner and the raylet that has it live, and connections between
 * machines, and processes, were never away for long (`brokenMs` in all). Once false it stays false.
 */
export function isSure({ disposed, owner, keeper }: ObjectLife, brokenMs: number): boolean {
  return !disposed && owner.alive && (keeper?.() ?? true) && brokenMs < BROKEN_LIMIT_MS;
}

/** One node's object store, seen from outside. */
export interface StoreSeen {
  readonly nodeId: string;
  readonly capacityBytes: number;
  /** What its table counts: segments of objects, and those kept warm. */
  readonly usedBytes: number;
  readonly pooledBytes: number;
  /** Bytes of the segments that are there. */
  readonly segmentBytes: number;
  /** Objects, in words. */
  objects(): string[];
  /** Objects that have a file. */
  files(): string[];
}

/** Memory is neither lost nor used twice: what the table counts is what is there, and no more than there may be. */
export function storeViolations(store: Omit<StoreSeen, "objects" | "files">): string[] {
  const { nodeId, usedBytes, pooledBytes, segmentBytes, capacityBytes } = store;
  const found: string[] = [];
  if (usedBytes + pooledBytes !== segmentBytes)
    found.push(`${nodeId}: ${usedBytes} used + ${pooledBytes} warm, but segments have ${segmentBytes} bytes`);
  if (segmentBytes > capacityBytes) found.push(`${nodeId}: segments of ${segmentBytes} bytes in ${capacityBytes}`);
  return found;
}
