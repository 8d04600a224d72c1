import { asWhiprayError, RayTaskError, type WhiprayError } from "@whipray/core";
import { type CallOptions, type ItemStream, type Parts, TASK_RETURNED, type TaskFunction } from "@whipray/rpc";
import type { MethodOptions } from "./actor-types.ts";
import { type Cancellable, isCancelled, type Killable } from "./cancelling.ts";
import type { Submission } from "./submission.ts";
import type { CheckedTaskOptions } from "./task-options.ts";
import type { TaskReport } from "./task-reports.ts";
import type { TaskWorker } from "./task-worker.ts";

/** What became of a task that was given to a worker: it has its answer, or must run (again). */
export type TaskOutcome = "settled" | "again" | "returned";

/** Something that needs a worker for a while. */
export interface PooledTask {
  readonly fnId: string;
  readonly name: string;
  readonly options: CallOptions;
  /** Runs of its function that one process may see; 0 without bound. */
  readonly maxCalls: number;
  /** Nothing else is sent to its worker while it runs. */
  readonly alone: boolean;
  /** Runs it; resolves, never rejects, when the worker is done with it. `timeoutMs` is what is left of its own. */
  run(worker: TaskWorker, timeoutMs: number | undefined): Promise<TaskOutcome>;
  /** It will not run. */
  reject(error: unknown): void;
}

/** Options of one call of a task. */
export interface TaskCallOptions extends MethodOptions, Cancellable {}

/** A call of a function for its value. */
export class ValueTask implements PooledTask, Killable {
  readonly fnId: string;
  readonly name: string;
  readonly options: TaskCallOptions;
  readonly alone: boolean;
  readonly maxCalls: number;
  readonly #submission: Submission;
  readonly #retryExceptions: boolean | readonly string[];
  readonly #definition: () => Promise<TaskFunction>;
  /** In base 36, counted by its process: part of its id. */
  readonly #number: string;
  readonly #report: TaskReport;
  #retries: number;
  #worker: TaskWorker | undefined;

  constructor(
    submission: Submission,
    options: CheckedTaskOptions,
    number: string,
    report: TaskReport,
    definition: () => Promise<TaskFunction>,
  ) {
    this.#report = report;
    this.#submission = submission;
    this.#definition = definition;
    this.#number = number;
    this.#retries = options.maxRetries;
    this.#retryExceptions = options.retryExceptions;
    this.fnId = submission.method;
    this.name = options.name;
    this.options = submission.options as TaskCallOptions;
    this.maxCalls = options.maxCalls;
    // Nobody could tell whether one that was sent ahead ran before its worker died; counted ones and those that are spread go one by one.
    this.alone = options.maxRetries === 0 || options.maxCalls > 0 || options.shape.spread === true;
    if (this.options.parent) this.options.parent.target = this;
  }

  async run(worker: TaskWorker, timeoutMs: number | undefined): Promise<TaskOutcome> {
    const { method, parts } = this.#submission;
    this.#worker = worker;
    worker.sent.add(this);
    this.#report.running(worker.nodeId, worker.lease.address);
    try {
      if (!worker.knows(method)) await worker.define(await this.#definition());
      const { signal, parent } = this.options;
      const reply = await worker.peer.call(callName(this, this.#number), parts, { signal, parent, timeoutMs });
      parent?.done();
      this.#report.ended();
      this.#submission.resolve(reply);
      return "settled";
    } catch (thrown) {
      return await this.#failed(worker, asWhiprayError(thrown));
    } finally {
      worker.sent.delete(this);
      this.#worker = undefined;
    }
  }

  async #failed(worker: TaskWorker, error: WhiprayError): Promise<TaskOutcome> {
    if (error.code === TASK_RETURNED) {
      this.#report.waiting(false);
      return "returned";
    }
    const lost = worker.peer.closed;
    const cancelled = isCancelled(this.options) || this.options.parent?.killed;
    const ended = cancelled || error.code === "DEADLINE_EXCEEDED" || error.code === "CANCELLED";
    if ((lost || this.#mayThrow(error)) && !ended && this.#retries !== 0) {
      if (this.#retries > 0) this.#retries--;
      this.#report.waiting(true);
      return "again";
    }
    this.reject(lost ? await worker.crash(this.name, error) : error);
    return "settled";
  }

  #mayThrow(error: WhiprayError): boolean {
    if (typeof this.#retryExceptions === "boolean") return this.#retryExceptions;
    const names = [error.code, error instanceof RayTaskError ? error.remoteName : error.name];
    return this.#retryExceptions.some((name) => names.includes(name));
  }

  reject(error: unknown): void {
    this.options.parent?.done();
    this.#report.ended(error);
    this.#submission.reject(error);
  }

  /** Its worker may have others waiting behind it, which then run elsewhere; while it waits itself another one must not die for it. */
  kill(): boolean {
    const worker = this.#worker;
    if (!worker || worker.sent.values().next().value !== this) return false;
    worker.kill();
    return true;
  }
}

/** A generator function: holds its worker until its items are read. Runs once. */
export class StreamTask implements PooledTask, Killable {
  readonly fnId: string;
  readonly name: string;
  readonly options: TaskCallOptions;
  readonly alone = true;
  readonly maxCalls = 0;
  readonly #definition: () => Promise<TaskFunction>;
  readonly #number: string;
  readonly #report: TaskReport;
  #failure: unknown;
  #closed = false;
  #running: TaskWorker | undefined;
  readonly #worker = Promise.withResolvers<{ worker: TaskWorker; timeoutMs: number | undefined }>();
  readonly #done = Promise.withResolvers<TaskOutcome>();

  constructor(
    fnId: string,
    options: TaskCallOptions,
    name: string,
    number: string,
    report: TaskReport,
    definition: () => Promise<TaskFunction>,
  ) {
    this.fnId = fnId;
    this.#number = number;
    this.#report = report;
    if (options.parent) options.parent.target = this;
    this.options = options;
    this.name = name;
    this.#definition = definition;
  }

  run(worker: TaskWorker, timeoutMs: number | undefined): Promise<TaskOutcome> {
    this.#report.running(worker.nodeId, worker.lease.address);
    this.#running = worker;
    this.#worker.resolve({ worker, timeoutMs });
    return this.#done.promise;
  }

  reject(error: unknown): void {
    this.#failure = error;
    this.#worker.reject(error);
    this.close();
  }

  /** The items, once there is a worker. */
  async open(parts: Parts): Promise<AsyncGenerator<Parts>> {
    const { worker, timeoutMs } = await this.#worker.promise;
    if (!worker.knows(this.fnId)) await worker.define(await this.#definition());
    const { signal, parent } = this.options;
    return this.#items(worker, worker.peer.stream(callName(this, this.#number), parts, { signal, parent, timeoutMs }));
  }

  async *#items(worker: TaskWorker, stream: ItemStream): AsyncGenerator<Parts> {
    try {
      yield* stream;
    } catch (error) {
      this.#failure = worker.peer.closed ? await worker.crash(this.name, asWhiprayError(error)) : error;
      throw this.#failure;
    }
  }

  kill(): boolean {
    this.#running?.kill();
    return this.#running !== undefined;
  }

  /** The reader is done; the worker is free. */
  close(): void {
    this.options.parent?.done();
    if (!this.#closed) this.#report.ended(this.#failure);
    this.#closed = true;
    this.#done.resolve("settled");
  }
}

/** What the worker reads: which function, which task of this process, and what it is called. */
function callName({ fnId, name }: PooledTask, number: string): string {
  return `${fnId}:${number}:${name}`;
}
