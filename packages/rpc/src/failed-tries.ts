/** Failed tries to log in that one address may make in a minute (reliability B5). */
export const FAILED_TRIES_LIMIT = 10;
export const FAILED_TRIES_WINDOW_MS = 60_000;
/** A failing answer waits this long. */
export const FAILED_TRY_DELAY_MS = 1_000;
/** Addresses that are remembered; the one that failed longest ago is forgotten first. */
export const FAILED_TRIES_ADDRESSES = 10_000;

/** Counts failed tries per address in windows of a minute. Pure: the time comes with each question. */
export class FailedTries {
  readonly #windows = new Map<string, { sinceMs: number; tries: number }>();

  /** Counts one more failed try; false when the address has used up its minute. */
  note(address: string, nowMs: number): boolean {
    let window = this.#windows.get(address);
    if (window === undefined || nowMs - window.sinceMs >= FAILED_TRIES_WINDOW_MS) {
      window = { sinceMs: nowMs, tries: 0 };
      this.#windows.delete(address);
      this.#windows.set(address, window);
      if (this.#windows.size > FAILED_TRIES_ADDRESSES) this.#windows.delete(this.#windows.keys().next().value!);
    }
    window.tries++;
    return window.tries <= FAILED_TRIES_LIMIT;
  }
}
