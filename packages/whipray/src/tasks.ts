import type { CallOptions, Parts, TaskFunction } from "@whipray/rpc";
import type { ModuleCode } from "@whipray/worker";
import type { Submission } from "./actor-link.ts";
import { codeOf, originalUrl } from "./code-of.ts";
import type { Driver } from "./driver.ts";
import type { ObjectStore } from "./object-store.ts";
import { type RemoteTarget, remoteCall, remoteRef } from "./remote-call.ts";
import { StreamTask, ValueTask } from "./task.ts";
import { TaskNodeWatch } from "./task-node-watch.ts";
import { type CheckedTaskOptions, checkTaskOptions, type TaskOptions } from "./task-options.ts";
import { TaskPool } from "./task-pool.ts";
import type { AnyFunction, RemoteFunction } from "./task-types.ts";

/** The remote functions of this process, and the workers that run them: one pool for each shape, whatever the function. */
export class Tasks {
  readonly #driver: Driver;
  readonly #watch: TaskNodeWatch;
  readonly #pools = new Map<string, TaskPool>();
  #functions = 0;

  constructor(driver: Driver) {
    this.#driver = driver;
    this.#watch = new TaskNodeWatch(driver);
  }

  make<F extends AnyFunction>(url: URL, exportName: string): RemoteFunction<F> {
    const fnId = `fn${++this.#functions}`;
    // Read with the first call, and once: all workers must have what the caller has.
    let code: ModuleCode | undefined;
    const definition = async (name: string): Promise<TaskFunction> => {
      code ??= codeOf(url);
      return { fnId, module: originalUrl(url), exportName, ...code, name };
    };
    return this.#remote(fnId, definition, exportName, {}) as RemoteFunction<F>;
  }

  #remote(
    fnId: string,
    definition: (name: string) => Promise<TaskFunction>,
    exportName: string,
    options: TaskOptions,
  ): unknown {
    const checked = checkTaskOptions(this.#driver.runtimeEnvs.within(options), exportName);
    const { timeoutMs, signal } = options;
    const callOptions = { ...(timeoutMs !== undefined && { timeoutMs }), ...(signal && { signal }) };
    const target = new TaskTarget(this.#driver, this.#pool(checked), checked, () => definition(checked.name));
    const call = (...args: unknown[]): unknown => remoteCall(this.#driver, target, fnId, args, callOptions);
    return Object.assign(call, {
      remote: (...args: unknown[]) => remoteRef(this.#driver, target, fnId, args, callOptions),
      options: (more: TaskOptions) => this.#remote(fnId, definition, exportName, { ...options, ...more }),
    });
  }

  #pool({ shape }: CheckedTaskOptions): TaskPool {
    const key = JSON.stringify(shape);
    const pool = this.#pools.get(key) ?? new TaskPool(this.#driver, shape, this.#watch);
    this.#pools.set(key, pool);
    return pool;
  }
}

/** Where the calls of one function with its options go. */
class TaskTarget implements RemoteTarget {
  readonly #driver: Driver;
  readonly #pool: TaskPool;
  readonly #options: CheckedTaskOptions;
  readonly #definition: () => Promise<TaskFunction>;

  constructor(driver: Driver, pool: TaskPool, options: CheckedTaskOptions, definition: () => Promise<TaskFunction>) {
    this.#driver = driver;
    this.#pool = pool;
    this.#options = options;
    this.#definition = definition;
  }

  get objects(): ObjectStore {
    return this.#driver.objects;
  }

  submit(submission: Submission): void {
    this.#pool.add(new ValueTask(submission, this.#options, this.#definition));
  }

  /** Tasks have no order: nobody waits behind it. */
  submitWhen(submission: Submission, ready: Promise<void>): void {
    ready.then(
      () => this.submit(submission),
      (error: unknown) => submission.reject(error),
    );
  }

  async *stream(fnId: string, parts: Parts, options: CallOptions): AsyncGenerator<Parts> {
    const task = new StreamTask(fnId, options, this.#options.name, this.#definition);
    this.#pool.add(task);
    try {
      yield* await task.open(parts);
    } finally {
      task.close();
    }
  }
}
