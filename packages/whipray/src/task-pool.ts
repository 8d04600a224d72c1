import { asWhiprayError, type Clock, type Timer, WhiprayError } from "@whipray/core";
import { taskLease, taskRelease, taskWaiting } from "@whipray/rpc";
import type { Driver } from "./driver.ts";
import type { PooledTask } from "./task.ts";
import type { TaskNodeWatch } from "./task-node-watch.ts";
import type { TaskShape } from "./task-options.ts";
import { type TaskPlace, taskPlace } from "./task-place.ts";
import { TaskTimes } from "./task-times.ts";
import { TaskWorker } from "./task-worker.ts";

/** A leased worker that nothing was sent to for this long is given back (Ray: 500 ms). */
export const LEASE_IDLE_MS = 500;
/** Requests for workers of one shape that wait at once (Ray: 10). */
export const PENDING_LEASES_LIMIT = 10;
/** Requests that fail one after another before the tasks do (Ray: 5 starts of a worker). */
const LEASE_TRIES = 5;
const LEASE_RETRY_MS = 200;
/** How long a raylet may take to say why a task waits. */
const REASON_WAIT_MS = 1_000;
/** Failures that another try may not meet, beside those that say so. */
const PASSING = new Set([
  "WORKER_START_FAILED",
  "UNREACHABLE",
  "OUTCOME_UNKNOWN",
  "NODE_LEAVING",
  "NODE_DIED",
  "GOODBYE",
]);

interface Queued {
  readonly task: PooledTask;
  /** When its time is over, by the clock. */
  readonly endMs: number | undefined;
  /** Undoes what watches over it while it waits. */
  unwatch: () => void;
}

/** The tasks of one shape that wait, and the workers leased for them. */
export class TaskPool {
  readonly #driver: Driver;
  readonly #clock: Clock;
  readonly #shape: TaskShape;
  readonly #watch: TaskNodeWatch;
  readonly #queue = new Set<Queued>();
  readonly #workers = new Map<TaskWorker, Timer | undefined>();
  readonly #requests = new Map<string, AbortController>();
  readonly #times = new TaskTimes();
  #place: TaskPlace | undefined;
  #failures = 0;
  #pausing = false;

  constructor(driver: Driver, shape: TaskShape, watch: TaskNodeWatch) {
    this.#watch = watch;
    this.#driver = driver;
    this.#clock = driver.connection.clock;
    this.#shape = shape;
  }

  add(task: PooledTask): void {
    const { timeoutMs } = task.options;
    this.#enter({
      task,
      endMs: timeoutMs === undefined ? undefined : this.#clock.now() + timeoutMs,
      unwatch: () => {},
    });
  }

  #enter(queued: Queued): void {
    const { signal } = queued.task.options;
    const abort = (): void => this.#drop(queued, signal?.reason);
    if (signal?.aborted) {
      queued.task.reject(cancelled(queued.task.name, signal.reason));
      return;
    }
    signal?.addEventListener("abort", abort, { once: true });
    const leftMs = queued.endMs === undefined ? undefined : Math.max(0, queued.endMs - this.#clock.now());
    const timer = leftMs === undefined ? undefined : this.#clock.after(leftMs, () => void this.#late(queued));
    queued.unwatch = () => {
      signal?.removeEventListener("abort", abort);
      timer?.cancel();
    };
    this.#queue.add(queued);
    this.#pump();
  }

  #drop(queued: Queued, reason: unknown): void {
    if (!this.#take(queued)) return;
    queued.task.reject(cancelled(queued.task.name, reason));
    this.#pump();
  }

  async #late(queued: Queued): Promise<void> {
    const reason = await this.#reason();
    if (!this.#take(queued)) return;
    const { name, options } = queued.task;
    queued.task.reject(
      new WhiprayError({
        code: "DEADLINE_EXCEEDED",
        message: `Task ${name} had no worker within ${options.timeoutMs} ms: ${reason}`,
        details: { task: name, timeoutMs: options.timeoutMs, reason },
      }),
    );
    this.#pump();
  }

  async #reason(): Promise<string> {
    const leaseId = this.#requests.keys().next().value;
    if (!this.#place || leaseId === undefined) return "none is free";
    const { raylet, nodeId } = this.#place;
    const { reason } = await raylet
      .invoke(taskWaiting, { leaseId }, { timeoutMs: REASON_WAIT_MS })
      .catch((error: unknown) => ({ reason: asWhiprayError(error).message }));
    return `on ${nodeId}: ${reason ?? "a worker is being started"}`;
  }

  #take(queued: Queued): boolean {
    queued.unwatch();
    return this.#queue.delete(queued);
  }

  /** Gives tasks to workers, and asks for as many workers as there are tasks left, up to the limit. */
  #pump(): void {
    for (const queued of this.#queue) {
      const worker = this.#free(queued.task);
      if (!worker) break;
      this.#take(queued);
      void this.#run(worker, queued);
    }
    if (this.#queue.size === 0) {
      for (const request of this.#requests.values()) request.abort();
    }
    while (!this.#pausing && this.#requests.size < Math.min(this.#queue.size, PENDING_LEASES_LIMIT)) this.#request();
  }

  #free({ fnId, alone }: PooledTask): TaskWorker | undefined {
    const taskMs = this.#times.of(fnId);
    let best: TaskWorker | undefined;
    for (const worker of this.#workers.keys()) {
      if (worker.hasRoom(taskMs, alone) && worker.running < (best?.running ?? Infinity)) best = worker;
      if (best?.running === 0) break;
    }
    return best;
  }

  async #run(worker: TaskWorker, queued: Queued): Promise<void> {
    const { task, endMs } = queued;
    const sentMs = this.#clock.now();
    this.#workers.get(worker)?.cancel();
    const taskMs = this.#times.of(task.fnId);
    worker.running++;
    this.#watch.busy(worker);
    worker.loadMs += taskMs;
    worker.alone = task.alone;
    const outcome = await task.run(worker, endMs === undefined ? undefined : Math.max(1, Math.ceil(endMs - sentMs)));
    worker.running--;
    worker.loadMs -= taskMs;
    worker.alone = false;
    if (outcome === "returned") this.#times.waited(task.fnId);
    else this.#times.took(task.fnId, worker.answered(sentMs, this.#clock.now()));
    if (worker.running === 0) this.#idle(worker);
    if (outcome === "settled") this.#pump();
    else this.#enter(queued);
  }

  #idle(worker: TaskWorker): void {
    if (!this.#workers.has(worker)) return;
    this.#workers.get(worker)?.cancel();
    this.#workers.set(
      worker,
      this.#clock.after(LEASE_IDLE_MS, () => {
        if (worker.running > 0 || !this.#workers.delete(worker)) return;
        // With its raylet gone the lease is too.
        worker.raylet.invoke(taskRelease, { leaseId: worker.leaseId }).catch(() => {});
      }),
    );
  }

  #request(): void {
    const { ids } = this.#driver.connection;
    const leaseId = ids.next("lease");
    const abort = new AbortController();
    this.#requests.set(leaseId, abort);
    void this.#lease(leaseId, abort.signal)
      .then(
        (worker) => {
          this.#failures = 0;
          this.#workers.set(worker, undefined);
          worker.peer.onClose(() => {
            this.#workers.get(worker)?.cancel();
            this.#workers.delete(worker);
          });
          this.#idle(worker);
        },
        (error: unknown) => {
          if (!abort.signal.aborted) this.#refused(asWhiprayError(error));
        },
      )
      .finally(() => {
        this.#requests.delete(leaseId);
        this.#pump();
      });
  }

  async #lease(leaseId: string, signal: AbortSignal): Promise<TaskWorker> {
    const { jobId, namespace } = this.#driver;
    this.#place ??= await taskPlace(this.#driver, this.#shape);
    signal.throwIfAborted();
    const { raylet, nodeId, url } = this.#place;
    const runtimeEnv = await this.#driver.runtimeEnvs.spec(this.#shape.runtimeEnv);
    const ask = { leaseId, jobId, namespace, ...this.#shape, runtimeEnv };
    const lease = await raylet.invoke(taskLease, ask, { signal });
    const peer = await this.#driver.reach({ address: lease.address, socket: lease.socket, nodeId, url });
    return new TaskWorker(leaseId, lease, raylet, peer);
  }

  /** What may pass is tried again, perhaps elsewhere; the rest is the answer to all that wait. */
  #refused(error: WhiprayError): void {
    this.#place = undefined;
    const again = error.retryable || PASSING.has(error.code);
    if (again && ++this.#failures < LEASE_TRIES) {
      this.#pausing = true;
      this.#clock.after(LEASE_RETRY_MS, () => {
        this.#pausing = false;
        this.#pump();
      });
      return;
    }
    this.#failures = 0;
    for (const queued of this.#queue) {
      this.#take(queued);
      queued.task.reject(error);
    }
  }
}

function cancelled(name: string, cause: unknown): WhiprayError {
  return new WhiprayError({ code: "CANCELLED", message: `Task ${name} was cancelled before it ran`, cause });
}
