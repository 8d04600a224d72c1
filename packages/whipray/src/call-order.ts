import type { Clock } from "@whipray/core";
import { type Submission, watchUnsent } from "./submission.ts";

/** A place in the order of calls; `open` while arguments are awaited. */
interface Place {
  readonly submission: Submission;
  state: "open" | "filled" | "dropped";
}

/**
 * Calls of one handle in the order in which they were made: one whose arguments are not ready blocks the following ones (Ray).
 */
export class CallOrder {
  readonly #clock: Clock;
  readonly #go: (submission: Submission) => void;
  #held: Place[] = [];

  constructor(clock: Clock, go: (submission: Submission) => void) {
    this.#clock = clock;
    this.#go = go;
  }

  /** Nothing is held. */
  get idle(): boolean {
    return this.#held.length === 0;
  }

  submit(submission: Submission): void {
    if (this.#held.length === 0) this.#go(submission);
    else this.#settle(this.#hold(submission), "filled");
  }

  /** A call whose arguments are not there before `ready`. */
  submitWhen(submission: Submission, ready: Promise<void>): void {
    const place = this.#hold(submission);
    ready.then(
      () => this.#settle(place, "filled"),
      (error: unknown) => {
        if (place.state === "open") submission.reject(error);
        this.#settle(place, "dropped");
      },
    );
  }

  #hold(submission: Submission): Place {
    const place: Place = { submission, state: "open" };
    this.#held.push(place);
    const unwatch = watchUnsent(this.#clock, submission, () => this.#settle(place, "dropped"));
    if (unwatch) Object.assign(place, { unwatch });
    return place;
  }

  #settle(place: Place & { unwatch?: () => void }, state: "filled" | "dropped"): void {
    if (place.state === "dropped") return;
    place.state = state;
    while (this.#held[0] && this.#held[0].state !== "open") {
      const next = this.#held.shift() as Place & { unwatch?: () => void };
      next.unwatch?.();
      if (next.state === "filled") this.#go(next.submission);
    }
  }
}
