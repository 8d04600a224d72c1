import { type Parts, type TaskFilter, type TaskFunction, type TaskRow, tasksList } from "@whipray/rpc";
import { type ModuleCode, taskContext } from "@whipray/worker";
import { capturedOptions, type Maker } from "./actor-options.ts";
import { cancellable } from "./cancelling.ts";
import { codeOf, originalUrl } from "./code-of.ts";
import type { Driver } from "./driver.ts";
import { LIST_LIMIT, type ListOptions } from "./list-options.ts";
import type { ObjectStore } from "./object-store.ts";
import { type RemoteTarget, remoteCall } from "./remote-call.ts";
import type { Submission } from "./submission.ts";
import { StreamTask, type TaskCallOptions, ValueTask } from "./task.ts";
import { TaskNodeWatch } from "./task-node-watch.ts";
import { type CheckedTaskOptions, checkTaskOptions, type TaskDefaults, type TaskOptions } from "./task-options.ts";
import { TaskPool } from "./task-pool.ts";
import { TaskRefs } from "./task-refs.ts";
import type { TaskReport } from "./task-reports.ts";
import type { AnyFunction, RemoteFunction } from "./task-types.ts";

/** A function of a module, as it was named. */
interface TaskCode {
  readonly module: string;
  readonly exportName: string;
  readonly defaults: TaskDefaults;
  readonly hashes: () => ModuleCode;
  /** What workers call it, by what they must know of it. */
  readonly fnIds: Map<string, string>;
}

/** The remote functions of this process, and the workers that run them: one pool for each shape, whatever the function. */
export class Tasks {
  readonly #driver: Driver;
  readonly #maker: Maker | undefined;
  readonly #watch: TaskNodeWatch;
  readonly #pools = new Map<string, TaskPool>();
  #functions = 0;

  /** `maker`: the actor that this process hosts. */
  constructor(driver: Driver, maker: Maker | undefined) {
    this.#driver = driver;
    this.#maker = maker;
    this.#watch = new TaskNodeWatch(driver);
  }

  /** What the cluster's tasks do, those of this process up to now (Ray's state API: `list_tasks`). */
  async list({ filters = {}, limit = LIST_LIMIT }: ListOptions<TaskFilter> = {}): Promise<TaskRow[]> {
    await this.#driver.reports.flush();
    return (await this.#driver.ask(tasksList, { ...filters, limit })).tasks;
  }

  make<F extends AnyFunction>(url: URL, exportName: string, defaults: TaskDefaults): RemoteFunction<F> {
    // Read with the first call, and once: all workers must have what the caller has.
    let hashes: ModuleCode | undefined;
    const read = (): ModuleCode => {
      hashes ??= codeOf(url);
      return hashes;
    };
    return this.#remote(
      { module: originalUrl(url), exportName, defaults, hashes: read, fnIds: new Map() },
      {},
    ) as RemoteFunction<F>;
  }

  #remote(code: TaskCode, options: TaskOptions): unknown {
    const captured = capturedOptions(options, taskContext()?.function ?? this.#maker);
    const checked = checkTaskOptions(this.#driver.runtimeEnvs.within(captured), code.exportName, code.defaults);
    const { numReturns } = checked;
    const single = this.#target(code, checked, 1);
    const refs = new TaskRefs(
      this.#driver,
      typeof numReturns === "number" ? this.#target(code, checked, numReturns) : single,
    );
    const call = (...args: unknown[]): unknown =>
      remoteCall(this.#driver, single, single.fnId, args, callOptions(options, false));
    return Object.assign(call, {
      remote: (...args: unknown[]) => refs.call(args, callOptions(options, true), numReturns),
      options: (more: TaskOptions) => this.#remote(code, { ...options, ...more }),
    });
  }

  #target(code: TaskCode, checked: CheckedTaskOptions, numReturns: number): TaskTarget {
    const { shape, captureChildTasks } = checked;
    const { units, pgId } = shape;
    const key = JSON.stringify([numReturns, units, pgId, captureChildTasks]);
    const fnId = code.fnIds.get(key) ?? `fn${++this.#functions}`;
    code.fnIds.set(key, fnId);
    const { module, exportName, hashes } = code;
    const definition = async (): Promise<TaskFunction> => {
      const about = {
        fnId,
        module,
        exportName,
        ...hashes(),
        name: exportName,
        numReturns,
        units: { ...units },
      };
      return { ...about, captureChildTasks, ...(pgId !== undefined && { pgId }) };
    };
    return new TaskTarget({ driver: this.#driver, pool: this.#pool(checked), checked, fnId, definition });
  }

  #pool({ shape }: CheckedTaskOptions): TaskPool {
    const key = JSON.stringify(shape);
    const pool = this.#pools.get(key) ?? new TaskPool(this.#driver, shape, this.#watch);
    this.#pools.set(key, pool);
    return pool;
  }
}

function callOptions({ timeoutMs, signal }: TaskOptions, byRef: boolean): TaskCallOptions {
  const options = { ...(timeoutMs !== undefined && { timeoutMs }), ...(signal && { signal }) };
  return cancellable("task", options, byRef);
}

interface TaskTargetOptions {
  readonly driver: Driver;
  readonly pool: TaskPool;
  readonly checked: CheckedTaskOptions;
  readonly fnId: string;
  readonly definition: () => Promise<TaskFunction>;
}

/** Where the calls of one function with its options go. */
export class TaskTarget implements RemoteTarget {
  readonly #options: TaskTargetOptions;

  constructor(options: TaskTargetOptions) {
    this.#options = options;
  }

  get fnId(): string {
    return this.#options.fnId;
  }

  get objects(): ObjectStore {
    return this.#options.driver.objects;
  }

  submit(submission: Submission): void {
    const { pool, checked, definition } = this.#options;
    const { number, report } = this.#next();
    pool.add(new ValueTask(submission, checked, number, report, definition));
  }

  #next(): { number: string; report: TaskReport } {
    const {
      checked,
      driver: { reports },
    } = this.#options;
    const number = reports.number();
    return { number, report: reports.task(checked.name, number) };
  }

  /** Tasks have no order: nobody waits behind it. */
  submitWhen(submission: Submission, ready: Promise<void>): void {
    ready.then(
      () => this.submit(submission),
      (error: unknown) => submission.reject(error),
    );
  }

  async *stream(fnId: string, parts: Parts, options: TaskCallOptions): AsyncGenerator<Parts> {
    const { pool, checked, definition } = this.#options;
    const { number, report } = this.#next();
    const task = new StreamTask(fnId, options, checked.name, number, report, definition);
    pool.add(task);
    try {
      yield* await task.open(parts);
    } finally {
      task.close();
    }
  }
}
