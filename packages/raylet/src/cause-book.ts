import type { Clock } from "@whipray/core";
import type { DeathCause } from "@whipray/rpc";

/** Ended processes whose cause is remembered; the oldest is forgotten first. */
export const CAUSES_LIMIT = 512;
/** Longest wait for a cause. */
export const CAUSE_WAIT_LIMIT_MS = 60_000;

/** Why processes of this node ended, for whoever asks later, or a moment too early. */
export class CauseBook {
  readonly #clock: Clock;
  readonly #causes = new Map<string, DeathCause>();
  readonly #waiting = new Map<string, Set<(cause: DeathCause) => void>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  put(process: string, cause: DeathCause): void {
    this.#causes.delete(process);
    this.#causes.set(process, cause);
    if (this.#causes.size > CAUSES_LIMIT) this.#causes.delete(this.#causes.keys().next().value!);
    for (const resolve of this.#waiting.get(process) ?? []) resolve(cause);
    this.#waiting.delete(process);
  }

  get(process: string): DeathCause | undefined {
    return this.#causes.get(process);
  }

  /** The cause, waited for at most `timeoutMs`; undefined when the process (still) lives or was never heard of. */
  wait(process: string, timeoutMs: number): Promise<DeathCause | undefined> {
    const known = this.#causes.get(process);
    if (known || timeoutMs <= 0) return Promise.resolve(known);
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(process) ?? new Set();
      this.#waiting.set(process, waiting);
      const timer = this.#clock.after(Math.min(timeoutMs, CAUSE_WAIT_LIMIT_MS), () => {
        waiting.delete(found);
        if (waiting.size === 0 && this.#waiting.get(process) === waiting) this.#waiting.delete(process);
        resolve(undefined);
      });
      function found(cause: DeathCause): void {
        timer.cancel();
        resolve(cause);
      }
      waiting.add(found);
    });
  }
}
