import { type Clock, WhiprayError } from "@whipray/core";
import { WAIT_LIMIT_MS, WAITERS_LIMIT } from "./limits.ts";

/** Calls that wait for something to become true. Each ends by its answer, its time, or the end of its caller. */
export class Waiters {
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #looks = new Map<string, Set<() => void>>();
  #count = 0;

  constructor(clock: Clock, most = WAITERS_LIMIT) {
    this.#clock = clock;
    this.#limit = most;
  }

  get size(): number {
    return this.#count;
  }

  /**
   * Looks now and after each `wake(key)`; the first answer that is not undefined wins. Undefined when `timeoutMs` (at most and by
   * default `WAIT_LIMIT_MS`) ran out. @throws what `look` throws, the reason of `signal`, and WhiprayError `BUSY` beyond the limit.
   */
  async until<T>(
    key: string,
    timeoutMs: number | undefined,
    signal: AbortSignal,
    look: () => T | undefined,
  ): Promise<T | undefined> {
    const found = look();
    if (found !== undefined || timeoutMs === 0) return found;
    signal.throwIfAborted();
    if (this.#count >= this.#limit) throw busy(this.#limit);
    const { promise, resolve, reject } = Promise.withResolvers<T | undefined>();
    const again = (): void => {
      try {
        const answer = look();
        if (answer !== undefined) resolve(answer);
      } catch (error) {
        reject(error);
      }
    };
    const abort = (): void => reject(signal.reason);
    const timer = this.#clock.after(Math.min(timeoutMs ?? WAIT_LIMIT_MS, WAIT_LIMIT_MS), () => {
      again();
      resolve(undefined);
    });
    signal.addEventListener("abort", abort, { once: true });
    this.#looks.set(key, (this.#looks.get(key) ?? new Set()).add(again));
    this.#count++;
    try {
      return await promise;
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", abort);
      this.#count--;
      const others = this.#looks.get(key);
      others?.delete(again);
      if (others?.size === 0) this.#looks.delete(key);
    }
  }

  wake(key: string): void {
    for (const look of [...(this.#looks.get(key) ?? [])]) look();
  }
}

function busy(most: number): WhiprayError {
  return new WhiprayError({
    code: "BUSY",
    message: `${most} calls wait at the head already; try again when some are done`,
    retryable: true,
    details: { limit: most },
  });
}
