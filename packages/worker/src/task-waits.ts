import type { Clock, Timer } from "@whipray/core";

/** A wait that is shorter is none: telling of it would cost more than it frees. */
export const BLOCKED_AFTER_MS = 2;

/** Whether the running task only waits for results of others. Pure but for its clock. */
export class TaskWaits {
  readonly #clock: Clock;
  readonly #tell: (blocked: boolean) => void;
  #running = false;
  /** Counts tasks: what an earlier one still waits for is not this one's. */
  #task = 0;
  #waits = 0;
  #blocked = false;
  #timer: Timer | undefined;

  constructor(clock: Clock, tell: (blocked: boolean) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  get blocked(): boolean {
    return this.#blocked;
  }

  /** A task starts. */
  started(): void {
    this.#running = true;
    this.#task++;
    this.#waits = 0;
  }

  /** It ended; what it still waited for does not count any more. */
  ended(): void {
    this.#running = false;
    this.#free();
  }

  /** The task waits for this. The same promise comes back. */
  until<T>(work: Promise<T>): Promise<T> {
    if (!this.#running) return work;
    this.#waits++;
    this.#timer ??= this.#clock.after(BLOCKED_AFTER_MS, () => this.#block());
    const task = this.#task;
    const done = (): void => {
      if (this.#running && this.#task === task && --this.#waits === 0) this.#free();
    };
    work.then(done, done);
    return work;
  }

  #block(): void {
    this.#timer = undefined;
    if (!this.#running || this.#waits === 0 || this.#blocked) return;
    this.#blocked = true;
    this.#tell(true);
  }

  #free(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (!this.#blocked) return;
    this.#blocked = false;
    this.#tell(false);
  }
}
