/** An exec that takes longer than this waits for a disk, and is none of ours. */
export const UNCLEAR_LIMIT_MS = 1_000;
/** Further looks in a row at most, where processes of which nothing is known ended during each: on a busy machine some always do. */
export const VANISHED_LOOKS_LIMIT = 5;

/** What a look at all processes leaves open. */
export interface LookOutcome {
  readonly found: readonly unknown[];
  /** A process is in the middle of an exec and shows no environment. */
  readonly unclear: boolean;
  /** A process ended before its environment was read: what it had just forked may have come too late for the look. */
  readonly vanished: boolean;
}

/** Decides after which look a sweep may say that nothing is left: one that finds nothing can have looked at a bad moment. */
export class SweepLooks {
  #emptySinceMs: number | undefined;
  #vanished = 0;

  /** Whether this look is the last. */
  over({ found, unclear, vanished }: LookOutcome, nowMs: number): boolean {
    if (found.length > 0) {
      this.#emptySinceMs = undefined;
      this.#vanished = 0;
      return false;
    }
    this.#emptySinceMs ??= nowMs;
    if (vanished && ++this.#vanished <= VANISHED_LOOKS_LIMIT) return false;
    return !unclear || nowMs - this.#emptySinceMs >= UNCLEAR_LIMIT_MS;
  }
}
