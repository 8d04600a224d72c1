import { asWhiprayError, type WhiprayError } from "@whipray/core";
import { type CallOptions, type ItemStream, type Parts, TASK_RETURNED, type TaskFunction } from "@whipray/rpc";
import type { Submission } from "./submission.ts";
import type { CheckedTaskOptions } from "./task-options.ts";
import type { TaskWorker } from "./task-worker.ts";

/** What became of a task that was given to a worker: it has its answer, or must run (again). */
export type TaskOutcome = "settled" | "again" | "returned";

/** Something that needs a worker for a while. */
export interface PooledTask {
  readonly fnId: string;
  readonly name: string;
  readonly options: CallOptions;
  /** Nothing else is sent to its worker while it runs. */
  readonly alone: boolean;
  /** Runs it; resolves, never rejects, when the worker is done with it. `timeoutMs` is what is left of its own. */
  run(worker: TaskWorker, timeoutMs: number | undefined): Promise<TaskOutcome>;
  /** It will not run. */
  reject(error: unknown): void;
}

/** A call of a function for its value. */
export class ValueTask implements PooledTask {
  readonly fnId: string;
  readonly name: string;
  readonly options: CallOptions;
  readonly alone: boolean;
  readonly #submission: Submission;
  readonly #retryExceptions: boolean;
  readonly #definition: () => Promise<TaskFunction>;
  #retries: number;

  constructor(submission: Submission, options: CheckedTaskOptions, definition: () => Promise<TaskFunction>) {
    this.#submission = submission;
    this.#definition = definition;
    this.#retries = options.maxRetries;
    this.#retryExceptions = options.retryExceptions;
    this.fnId = submission.method;
    this.name = options.name;
    this.options = submission.options;
    // Nobody could tell whether one that was sent ahead ran before its worker died.
    this.alone = options.maxRetries === 0;
  }

  async run(worker: TaskWorker, timeoutMs: number | undefined): Promise<TaskOutcome> {
    const { method, parts } = this.#submission;
    try {
      if (!worker.knows(method)) await worker.define(await this.#definition());
      const signal = this.options.signal;
      const reply = await worker.peer.call(method, parts, { signal, timeoutMs });
      this.#submission.resolve(reply);
      return "settled";
    } catch (thrown) {
      return this.#failed(worker, asWhiprayError(thrown));
    }
  }

  async #failed(worker: TaskWorker, error: WhiprayError): Promise<TaskOutcome> {
    if (error.code === TASK_RETURNED) return "returned";
    const lost = worker.peer.closed;
    const ended = this.options.signal?.aborted || error.code === "DEADLINE_EXCEEDED" || error.code === "CANCELLED";
    if ((lost || this.#retryExceptions) && !ended && this.#retries !== 0) {
      if (this.#retries > 0) this.#retries--;
      return "again";
    }
    this.reject(lost ? await worker.crash(this.name, error) : error);
    return "settled";
  }

  reject(error: unknown): void {
    this.#submission.reject(error);
  }
}

/** A generator function: holds its worker until its items are read. Runs once. */
export class StreamTask implements PooledTask {
  readonly fnId: string;
  readonly name: string;
  readonly options: CallOptions;
  readonly alone = true;
  readonly #definition: () => Promise<TaskFunction>;
  readonly #worker = Promise.withResolvers<{ worker: TaskWorker; timeoutMs: number | undefined }>();
  readonly #done = Promise.withResolvers<TaskOutcome>();

  constructor(fnId: string, options: CallOptions, name: string, definition: () => Promise<TaskFunction>) {
    this.fnId = fnId;
    this.options = options;
    this.name = name;
    this.#definition = definition;
  }

  run(worker: TaskWorker, timeoutMs: number | undefined): Promise<TaskOutcome> {
    this.#worker.resolve({ worker, timeoutMs });
    return this.#done.promise;
  }

  reject(error: unknown): void {
    this.#worker.reject(error);
    this.close();
  }

  /** The items, once there is a worker. */
  async open(parts: Parts): Promise<AsyncGenerator<Parts>> {
    const { worker, timeoutMs } = await this.#worker.promise;
    if (!worker.knows(this.fnId)) await worker.define(await this.#definition());
    const { signal } = this.options;
    return this.#items(worker, worker.peer.stream(this.fnId, parts, { signal, timeoutMs }));
  }

  async *#items(worker: TaskWorker, stream: ItemStream): AsyncGenerator<Parts> {
    try {
      yield* stream;
    } catch (error) {
      throw worker.peer.closed ? await worker.crash(this.name, asWhiprayError(error)) : error;
    }
  }

  /** The reader is done; the worker is free. */
  close(): void {
    this.#done.resolve("settled");
  }
}
