import { readFileSync } from "node:fs";

/** A machine that is so many times slower than the one for which a figure was promised must still pass. */
const SLOWEST = 3;

/**
 * The end of a promised time. What the kernel tells of time in which somebody had to wait for a CPU or a disk
 * (/proc/pressure) does not count, up to `SLOWEST` times the promise; where it tells nothing, that is the limit. So on a quiet machine the
 * figure itself is proved, and a busy one is no failure.
 */
export class Deadline {
  readonly ms: number;
  readonly #fromMs = performance.now();
  readonly #stalledMs = stalledMs();

  constructor(ms: number) {
    this.ms = ms;
  }

  get passedMs(): number {
    return performance.now() - this.#fromMs;
  }

  get over(): boolean {
    return this.passedMs > this.ms + this.#graceMs();
  }

  #graceMs(): number {
    const most = (SLOWEST - 1) * this.ms;
    const now = stalledMs();
    return now === undefined || this.#stalledMs === undefined ? most : Math.min(most, now - this.#stalledMs);
  }
}

/** Time in which at least one process of this machine was stalled, since its start; undefined where the kernel does not count. */
function stalledMs(): number | undefined {
  const totals = ["cpu", "io"].map((kind) => /^some .*total=(\d+)/.exec(pressure(kind))?.[1]);
  return totals.some((total) => total === undefined)
    ? undefined
    : totals.reduce((sum, us) => sum + Number(us) / 1_000, 0);
}

function pressure(kind: string): string {
  try {
    return readFileSync(`/proc/pressure/${kind}`, "utf8");
  } catch {
    return ""; // an older kernel, or one that does not count
  }
}
