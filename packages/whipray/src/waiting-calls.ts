import type { Clock } from "@whipray/core";
import { type Submission, watchUnsent } from "./submission.ts";

/** Calls that wait for their actor to run, in order. What is cancelled meanwhile, or too late, is never sent (Ray 8.52). */
export class WaitingCalls {
  readonly #clock: Clock;
  readonly #entries = new Map<Submission, (() => void) | undefined>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#entries.size;
  }

  push(submission: Submission): void {
    this.#entries.set(
      submission,
      watchUnsent(this.#clock, submission, () => this.#entries.delete(submission)),
    );
  }

  takeAll(): Submission[] {
    const all = [...this.#entries.keys()];
    for (const unwatch of this.#entries.values()) unwatch?.();
    this.#entries.clear();
    return all;
  }
}
