import { PendingCallsLimitExceeded } from "@whipray/core";

/** Calls of one handle that have no answer yet, and how many there may be (Ray: max_pending_calls, per handle). */
export class PendingCalls {
  /** Undefined: a handle that was passed on does not know it yet. */
  #limit: number | undefined;
  #count = 0;

  constructor(limit: number | undefined) {
    this.#limit = limit;
  }

  /** Calls that may go on, of those that were made before the limit was known. */
  get limit(): number {
    return this.#limit === undefined || this.#limit < 0 ? Number.POSITIVE_INFINITY : this.#limit;
  }

  learn(limit: number): void {
    this.#limit ??= limit;
  }

  /** One more, counted until what this returns is called; undefined: nobody counts. @throws PendingCallsLimitExceeded. */
  take(method: string): (() => void) | undefined {
    if (this.#limit === -1) return undefined;
    if (this.#count >= this.limit) throw this.exceeded(method);
    this.#count++;
    return () => {
      this.#count--;
    };
  }

  exceeded(method: string): PendingCallsLimitExceeded {
    return new PendingCallsLimitExceeded({
      message: `${method} was not sent: ${this.limit} calls of this handle have no answer yet, its maxPendingCalls`,
      details: { method, limit: this.limit },
    });
  }
}
