import { PendingCallsLimitExceeded } from "@whipray/core";
import type { Parts } from "@whipray/rpc";
import type { Submission, SubmitOptions } from "./submission.ts";

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

  /** The call, counted until it has its answer. @throws PendingCallsLimitExceeded. */
  enter(submission: Submission): Submission {
    return this.#limit === -1 ? submission : new CountedCall(submission, this.take(submission.method));
  }

  /** One more; the answer takes it back. @throws PendingCallsLimitExceeded. */
  take(method: string): () => void {
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

class CountedCall implements Submission {
  readonly method: string;
  readonly options: SubmitOptions;
  retries: number;
  retryOn: readonly string[] | undefined;
  deadlineAtMs: number | undefined;
  readonly #inner: Submission;
  readonly #done: () => void;

  constructor(inner: Submission, done: () => void) {
    this.#inner = inner;
    this.#done = done;
    this.method = inner.method;
    this.options = inner.options;
    this.retries = inner.retries;
    this.deadlineAtMs = inner.deadlineAtMs;
  }

  // They may not be there yet.
  get parts(): Parts {
    return this.#inner.parts;
  }

  resolve(parts: Parts): void {
    this.#done();
    this.#inner.resolve(parts);
  }

  reject(error: unknown): void {
    this.#done();
    this.#inner.reject(error);
  }
}
