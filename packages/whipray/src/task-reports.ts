import { asWhiprayError, type Clock, type Timer } from "@whipray/core";
import { TASK_REPORT_LIMIT, type TaskRow, taskIdOf, tasksReport } from "@whipray/rpc";
import { taskContext } from "@whipray/worker";
import type { Driver } from "./driver.ts";

/** From a change to its report, and between two (Ray: 1 s). */
const REPORT_EVERY_MS = 1_000;
const REPORT_WAIT_MS = 5_000;
/** Rows that wait for a head that is away. */
const WAITING_LIMIT = 10 * TASK_REPORT_LIMIT;
/** Calls of actors between two reports that are told of; each costs its caller the row. */
const CALLS_LIMIT = TASK_REPORT_LIMIT;
/** Who waits is told of first, then who failed; of those that finished what there is room for. */
const RANK: Readonly<Record<TaskRow["state"], number>> = {
  RUNNING: 0,
  PENDING_NODE_ASSIGNMENT: 0,
  FAILED: 1,
  FINISHED: 2,
};

/** Tells the head of this process' tasks, for `listTasks()`: at most so many rows a second, whatever runs. */
export class TaskReports {
  readonly #driver: Driver;
  readonly #changed = new Set<TaskRow>();
  #left = 0;
  #numbered = 0;
  /** Calls of actors since the last report. */
  #calls = 0;
  #planned: Timer | undefined;
  #closed = false;
  #telling = Promise.resolve();

  constructor(driver: Driver) {
    this.#driver = driver;
  }

  /** The next task's or call's, in base 36. */
  number(): string {
    return (++this.#numbered).toString(36);
  }

  /**
   * A call of an actor that was made now. Of a process that makes very many a second the first are told of; undefined for the others, which are
   * counted.
   */
  call(name: string, actorId: string): TaskReport | undefined {
    if (this.#calls >= CALLS_LIMIT) {
      this.#left++;
      return undefined;
    }
    this.#calls++;
    return this.#row({ name: name.slice(0, 256), type: "ACTOR_TASK", actorId }, this.number());
  }

  /** A task that was made now. */
  task(name: string, number: string): TaskReport {
    return this.#row({ name, type: "NORMAL_TASK" }, number);
  }

  #row(about: Pick<TaskRow, "name" | "type" | "actorId">, number: string): TaskReport {
    const { connection, jobId } = this.#driver;
    const taskId = taskIdOf(connection.endpoint.incarnation, number);
    const parentTaskId = taskContext()?.taskId;
    const createdMs = Math.floor(connection.clock.wallMs());
    const row: TaskRow = { taskId, jobId, ...about, state: "PENDING_NODE_ASSIGNMENT", attempt: 0, createdMs };
    if (parentTaskId !== undefined) row.parentTaskId = parentTaskId;
    this.#add(row);
    return new TaskReport(row, connection.clock, () => this.#add(row));
  }

  #add(row: TaskRow): void {
    if (this.#closed) return;
    if (this.#changed.size >= WAITING_LIMIT && !this.#changed.has(row)) this.#left++;
    else this.#changed.add(row);
    if (this.#planned) return;
    this.#planned = this.#driver.connection.clock.after(REPORT_EVERY_MS, () => {
      this.#planned = undefined;
      this.#calls = 0;
      void this.flush();
    });
  }

  /** Nobody is told any more. */
  close(): void {
    this.#closed = true;
    this.#planned?.cancel();
    this.#changed.clear();
  }

  /** Tells now. Never rejects: nothing depends on it. */
  async flush(): Promise<void> {
    this.#telling = this.#telling.then(() => this.#tell());
    await this.#telling;
  }

  async #tell(): Promise<void> {
    const all = [...this.#changed].sort((left, right) => RANK[left.state] - RANK[right.state]);
    if (all.length === 0) return;
    this.#changed.clear();
    const rows = all.slice(0, TASK_REPORT_LIMIT);
    const report = { rows: rows.map((row) => ({ ...row })), left: this.#left + all.length - rows.length };
    try {
      this.#left = 0;
      await this.#driver.head.invoke(tasksReport, report, { timeoutMs: REPORT_WAIT_MS });
    } catch (error) {
      this.#left += report.left;
      for (const row of rows) this.#add(row);
      this.#driver.connection.logger.debug("the head was not told of tasks", { error: asWhiprayError(error).message });
    }
  }
}

/** One task, as its caller tells of it. */
export class TaskReport {
  readonly #row: TaskRow;
  readonly #clock: Clock;
  readonly #changed: () => void;

  constructor(row: TaskRow, clock: Clock, changed: () => void) {
    this.#row = row;
    this.#clock = clock;
    this.#changed = changed;
  }

  /** It was given to this process. */
  running(nodeId: string | undefined, worker: string): void {
    Object.assign(this.#row, { state: "RUNNING", worker, startedMs: this.#now() });
    if (nodeId !== undefined) this.#row.nodeId = nodeId;
    this.#changed();
  }

  /** It waits for another worker; `again`: it may have run. */
  waiting(again: boolean): void {
    this.#row.state = "PENDING_NODE_ASSIGNMENT";
    if (again) this.#row.attempt++;
    this.#changed();
  }

  ended(error?: unknown): void {
    this.#row.state = error === undefined ? "FINISHED" : "FAILED";
    this.#row.endedMs = this.#now();
    if (error !== undefined) {
      const { code, message } = asWhiprayError(error);
      this.#row.error = `${code}: ${message}`.slice(0, 1_024);
    }
    this.#changed();
  }

  #now(): number {
    return Math.floor(this.#clock.wallMs());
  }
}
