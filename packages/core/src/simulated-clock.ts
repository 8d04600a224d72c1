import type { Clock, Timer } from "./clock.ts";

interface Entry {
  atMs: number;
  order: number;
  callback: () => void;
  cancelled: boolean;
}

/** The in-memory twin of `systemClock`: time moves only when it is told to. */
export class SimulatedClock implements Clock {
  #nowMs = 0;
  #order = 0;
  #entries: Entry[] = [];
  readonly #wallStartMs: number;

  constructor(wallStartMs = 1_700_000_000_000) {
    this.#wallStartMs = wallStartMs;
  }

  now(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#wallStartMs + this.#nowMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    const entry: Entry = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback, cancelled: false };
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#entries[middle]!.atMs <= entry.atMs) low = middle + 1;
      else high = middle;
    }
    this.#entries.splice(low, 0, entry);
    return {
      cancel: () => {
        entry.cancelled = true;
      },
    };
  }

  /** When the next timer fires, or undefined when none is armed. */
  nextAtMs(): number | undefined {
    while (this.#entries[0]?.cancelled) this.#entries.shift();
    return this.#entries[0]?.atMs;
  }

  /** Fires the next timer (moving time to it) and says whether there was one. */
  step(): boolean {
    if (this.nextAtMs() === undefined) return false;
    const entry = this.#entries.shift()!;
    this.#nowMs = Math.max(this.#nowMs, entry.atMs);
    entry.callback();
    return true;
  }

  /** Moves time on by `ms`, firing every timer on the way in order. Synchronous: promises settle afterwards. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (let next = this.nextAtMs(); next !== undefined && next <= untilMs; next = this.nextAtMs()) this.step();
    this.#nowMs = untilMs;
  }

  /** As `advance`, but lets every promise that is ready settle after each timer. */
  async run(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await settle();
    for (let next = this.nextAtMs(); next !== undefined && next <= untilMs; next = this.nextAtMs()) {
      this.step();
      await settle();
    }
    this.#nowMs = untilMs;
    await settle();
  }
}

/** Lets everything that is already queued as microtask or immediate run. */
export async function settle(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}
