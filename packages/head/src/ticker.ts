import type { Clock, Timer } from "@whipray/core";
import { CALM_TICK_MS, TICK_MS } from "./limits.ts";

/**
 * Calls `tick` every `TICK_MS`; while nothing is to be expected before `calmUntilMs`, only then, at the latest after `CALM_TICK_MS`: an idle
 * head wakes up no oftener than it must.
 */
export class Ticker {
  readonly #clock: Clock;
  readonly #tick: (nowMs: number) => void;
  readonly #calmUntilMs: (nowMs: number) => number;
  #timer: Timer | undefined;
  #dueAtMs = 0;

  constructor(clock: Clock, tick: (nowMs: number) => void, calmUntilMs: (nowMs: number) => number) {
    this.#clock = clock;
    this.#tick = tick;
    this.#calmUntilMs = calmUntilMs;
  }

  start(): void {
    this.#arm(TICK_MS);
  }

  /** Something happened: whatever comes of it is looked at within `TICK_MS`. */
  hurry(): void {
    if (!this.#timer || this.#dueAtMs <= this.#clock.now() + TICK_MS) return;
    this.#timer.cancel();
    this.#arm(TICK_MS);
  }

  #arm(waitMs: number): void {
    this.#dueAtMs = this.#clock.now() + waitMs;
    this.#timer = this.#clock.after(waitMs, () => {
      const nowMs = this.#clock.now();
      this.#tick(nowMs);
      // The tick may have ended it all.
      if (!this.#timer) return;
      this.#arm(Math.min(CALM_TICK_MS, Math.max(TICK_MS, this.#calmUntilMs(nowMs) - nowMs)));
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
