/** At most one log line about connections of a wrong protocol in this time (reliability B3): scanners send such things all day. */
export const WRONG_PROTOCOL_LOG_MS = 60_000;

/** Lets one line through in each interval and counts those that it holds back. Pure: the time comes with each question. */
export class LineLimit {
  readonly #intervalMs: number;
  #nextAtMs = Number.NEGATIVE_INFINITY;
  #heldBack = 0;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** How many lines were held back since the last one, when another may be written now; undefined when it may not. */
  take(nowMs: number): number | undefined {
    if (nowMs < this.#nextAtMs) {
      this.#heldBack++;
      return undefined;
    }
    const heldBack = this.#heldBack;
    this.#heldBack = 0;
    this.#nextAtMs = nowMs + this.#intervalMs;
    return heldBack;
  }
}
