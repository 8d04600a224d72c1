import type { Clock, Timer } from "@whipray/core";
import type { ProcessExit } from "./processes.ts";

/** Between two looks at the kernel's count. */
const LOOK_EVERY_MS = 2_000;
/** How long after the kernel ended something a SIGKILL that is not ours is taken for that. */
export const MEMORY_KILL_MS = 5_000;

/** What the kernel tells of the processes that it ended for want of memory. */
export interface MemoryKillSource {
  /** How many since it started, whoever they belonged to; undefined where it does not tell. */
  count(): number | undefined;
  /** Whether this one was among the last of them; undefined where it does not say whom it took. */
  took(pid: number): boolean | undefined;
}

/**
 * Tells whether a process that ended by SIGKILL was ended by the kernel for want of memory: by the kernel's own word where that can be had, else
 * because it counted such an end a moment ago.
 */
export class MemoryKills {
  readonly #clock: Clock;
  readonly #source: MemoryKillSource;
  #count: number | undefined;
  /** Ends that were counted lately and explain no exit yet. */
  #unexplained = 0;
  #grownMs = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock, source: MemoryKillSource) {
    this.#clock = clock;
    this.#source = source;
    this.#count = source.count();
    if (this.#count !== undefined) this.#lookLater();
  }

  /** The exit of a process that nobody here killed, with that reason where it is likely. */
  judged(pid: number, exit: ProcessExit): ProcessExit {
    if (exit.signal !== "SIGKILL") return exit;
    this.#look();
    // Its log is long: it is read only when there was something.
    if (this.#unexplained === 0 || this.#source.took(pid) === false) return exit;
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
    const count = this.#source.count();
    const grown = (count ?? 0) - (this.#count ?? 0);
    this.#count = count ?? this.#count;
    if (grown <= 0) return;
    this.#unexplained += grown;
    this.#grownMs = nowMs;
  }
}
