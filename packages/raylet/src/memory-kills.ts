import type { Clock, Timer } from "@whipray/core";
import type { ProcessExit } from "./processes.ts";

/** Between two looks at the kernel's count. */
const LOOK_EVERY_MS = 2_000;
/** How long after the kernel ended something a SIGKILL that is not ours is taken for that. */
export const MEMORY_KILL_MS = 5_000;

/**
 * Tells whether a process that ended by SIGKILL was ended by the kernel for want of memory. The kernel counts such ends, of the machine and of
 * each control group, but names to nobody whom it took.
 */
export class MemoryKills {
  readonly #clock: Clock;
  readonly #read: () => number | undefined;
  #count: number | undefined;
  /** Ends that were counted lately and explain no exit yet. */
  #unexplained = 0;
  #grownMs = 0;
  #timer: Timer | undefined;

  /** `read`: how many processes the kernel has ended so since it started; undefined where it does not tell. */
  constructor(clock: Clock, read: () => number | undefined) {
    this.#clock = clock;
    this.#read = read;
    this.#count = read();
    if (this.#count !== undefined) this.#lookLater();
  }

  /** The exit of a process that nobody here killed, with that reason where it is likely. */
  judged(exit: ProcessExit): ProcessExit {
    if (exit.signal !== "SIGKILL") return exit;
    this.#look();
    if (this.#unexplained === 0) return exit;
    this.#unexplained--;
    return { ...exit, outOfMemory: true };
  }

  close(): void {
    this.#timer?.cancel();
  }

  #lookLater(): void {
    this.#timer = this.#clock.after(LOOK_EVERY_MS, () => {
      this.#look();
      this.#lookLater();
    });
  }

  #look(): void {
    const nowMs = this.#clock.now();
    if (nowMs - this.#grownMs > MEMORY_KILL_MS) this.#unexplained = 0;
    const count = this.#read();
    const grown = (count ?? 0) - (this.#count ?? 0);
    this.#count = count ?? this.#count;
    if (grown <= 0) return;
    this.#unexplained += grown;
    this.#grownMs = nowMs;
  }
}
