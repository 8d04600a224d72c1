import type { Clock, Timer } from "@whipray/core";

/** The clock of one simulated process: a stopped process' timers wait (SIGSTOP), a killed one's never fire. */
export class ProcessClock implements Clock {
  readonly #clock: Clock;
  #held: (() => void)[] = [];
  #state: "running" | "stopped" | "killed" = "running";

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get killed(): boolean {
    return this.#state === "killed";
  }

  now(): number {
    return this.#clock.now();
  }

  wallMs(): number {
    return this.#clock.wallMs();
  }

  after(delayMs: number, callback: () => void): Timer {
    let cancelled = false;
    const fire = (): void => {
      if (!cancelled && this.#state !== "killed") callback();
    };
    const timer = this.#clock.after(delayMs, () => {
      if (this.#state === "stopped") this.#held.push(fire);
      else fire();
    });
    return {
      cancel() {
        cancelled = true;
        timer.cancel();
      },
    };
  }

  /** Time goes on, the process does not see it. */
  stop(): void {
    if (this.#state === "running") this.#state = "stopped";
  }

  /** Everything that became due meanwhile fires at once. */
  resume(): void {
    if (this.#state !== "stopped") return;
    this.#state = "running";
    for (const fire of this.#held.splice(0)) fire();
  }

  kill(): void {
    this.#state = "killed";
    this.#held = [];
  }
}
