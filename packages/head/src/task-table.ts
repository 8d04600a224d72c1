import type { TaskFilter, TaskRow } from "@whipray/rpc";

/**
 * What callers told of their tasks, for people to look at: bounded, never journalled, and nothing is decided by it. Those that ended longest
 * ago are forgotten first. Pure.
 */
export class TaskTable {
  readonly #limit: number;
  readonly #living = new Map<string, TaskRow>();
  readonly #ended = new Map<string, TaskRow>();
  #left = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#living.size + this.#ended.size;
  }

  /** `left`: changes of tasks that were not told. */
  report(rows: readonly TaskRow[], left: number): void {
    this.#left += left;
    for (const row of rows) {
      this.#living.delete(row.taskId);
      this.#ended.delete(row.taskId);
      (isEnded(row) ? this.#ended : this.#living).set(row.taskId, row);
    }
    while (this.size > this.#limit) {
      const from = this.#ended.size > 0 ? this.#ended : this.#living;
      from.delete(from.keys().next().value!);
    }
  }

  /** Who would tell of the end of its tasks is gone, and they with it. */
  jobEnded(jobId: string, wallMs: number): void {
    const mine = [...this.#living.values()].filter((row) => row.jobId === jobId);
    this.report(
      mine.map((row) => ({ ...row, state: "FAILED", error: "OWNER_DIED: its job ended", endedMs: wallMs })),
      0,
    );
  }

  /** The living in the order in which they were told of, then those that ended, the latest first. */
  list(filter: TaskFilter, limit: number): { tasks: TaskRow[]; total: number; left: number } {
    const wanted = Object.entries(filter).filter(([, value]) => value !== undefined);
    const matching = [...this.#living.values(), ...[...this.#ended.values()].reverse()].filter((row) =>
      wanted.every(([key, value]) => row[key as keyof TaskFilter] === value),
    );
    return { tasks: matching.slice(0, limit), total: matching.length, left: this.#left };
  }
}

function isEnded({ state }: TaskRow): boolean {
  return state === "FINISHED" || state === "FAILED";
}
