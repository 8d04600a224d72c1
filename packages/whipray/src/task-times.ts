/** Tasks that are sent ahead to one worker are worth this much time together. */
export const PIPELINE_MS = 2;
/** How much of a mean the last run is. */
const NEWEST_WEIGHT = 0.2;

/** How long functions take. One that never ran counts as long: nothing is sent ahead before it is known to be short. Pure. */
export class TaskTimes {
  readonly #meanMs = new Map<string, number>();

  of(fnId: string): number {
    return this.#meanMs.get(fnId) ?? PIPELINE_MS;
  }

  took(fnId: string, tookMs: number): void {
    const known = this.#meanMs.get(fnId) ?? tookMs;
    this.#meanMs.set(fnId, known * (1 - NEWEST_WEIGHT) + tookMs * NEWEST_WEIGHT);
  }

  /** A run of it waited for others: the next ones are not sent ahead. */
  waited(fnId: string): void {
    this.#meanMs.set(fnId, PIPELINE_MS);
  }
}
