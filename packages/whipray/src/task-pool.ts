import { asWhiprayError, type Clock, TaskCancelledError, type Timer, WhiprayError } from "@whipray/core";
import { type Peer, taskWaiting } from "@whipray/rpc";
import { isCancelled, whenCancelled } from "./cancelling.ts";
import type { Driver } from "./driver.ts";
import type { PooledTask } from "./task.ts";
import type { TaskNodeWatch } from "./task-node-watch.ts";
import type { TaskShape } from "./task-options.ts";
import { LEASE_RETRY_MS, leaseWorker, mayPass, type TaskPlace, taskPlace } from "./task-place.ts";
import { TaskTimes } from "./task-times.ts";
import { TaskWorker } from "./task-worker.ts";

/**
 * A leased worker that nothing was sent to for this long is given back (Ray: 500 ms, in which others wait). Its process stays warm at the
 * raylet: to lease it again is one round trip.
 */
export const LEASE_IDLE_MS = 10;
/** The same for one with devices, whose process ends with the lease. */
export const DEVICE_LEASE_IDLE_MS = 500;
/** Requests for workers of one shape that wait at once (Ray: 10). */
export const PENDING_LEASES_LIMIT = 10;
/** Requests that fail one after another before the tasks do (Ray: 5 starts of a worker). */
const LEASE_TRIES = 5;
/** How long a raylet may take to say why a task waits. */
const REASON_WAIT_MS = 1_000;
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
  readonly #watched = new WeakSet<Peer>();
  readonly #requests = new Map<string, AbortController>();
  /** The raylet that has the request. */
  readonly #asked = new Map<string, TaskPlace>();
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
    const { options, name } = queued.task;
    if (isCancelled(options)) {
      queued.task.reject(cancelled(name, options.signal?.reason));
      return;
    }
    const leave = whenCancelled(options, (reason) => this.#drop(queued, reason));
    const leftMs = queued.endMs === undefined ? undefined : Math.max(0, queued.endMs - this.#clock.now());
    const timer = leftMs === undefined ? undefined : this.#clock.after(leftMs, () => void this.#late(queued));
    queued.unwatch = () => {
      leave?.();
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
    const asked = leaseId === undefined ? undefined : this.#asked.get(leaseId);
    if (!asked || leaseId === undefined) return "none is free";
    const { raylet, nodeId } = asked;
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
    const nowMs = this.#clock.now();
    let best: TaskWorker | undefined;
    for (const worker of this.#workers.keys()) {
      if (worker.hasRoom(taskMs, alone, nowMs) && worker.running < (best?.running ?? Infinity)) best = worker;
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
    if (task.maxCalls > 0 && outcome !== "returned") worker.count(task.fnId, task.maxCalls);
    // Each task that is spread is placed for itself (Ray: SPREAD).
    const over = worker.isOver(this.#clock.now()) || this.#shape.spread;
    if (worker.running === 0 && over) this.#giveBack(worker);
    if (worker.running === 0) this.#idle(worker);
    if (outcome === "settled") this.#pump();
    else this.#enter(queued);
  }

  #idle(worker: TaskWorker): void {
    if (!this.#workers.has(worker)) return;
    this.#workers.get(worker)?.cancel();
    this.#workers.set(
      worker,
      this.#clock.after(worker.lease.devices.length > 0 ? DEVICE_LEASE_IDLE_MS : LEASE_IDLE_MS, () => {
        if (worker.running === 0) this.#giveBack(worker);
      }),
    );
  }

  #giveBack(worker: TaskWorker): void {
    this.#workers.get(worker)?.cancel();
    if (this.#workers.delete(worker)) worker.release();
  }

  /** Once a session: it outlives many leases. */
  #watchOver(peer: Peer): void {
    if (this.#watched.has(peer)) return;
    this.#watched.add(peer);
    peer.onClose(() => {
      for (const [worker, timer] of this.#workers) {
        if (worker.peer !== peer) continue;
        timer?.cancel();
        this.#workers.delete(worker);
      }
    });
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
          this.#watchOver(worker.peer);
          this.#idle(worker);
        },
        (error: unknown) => {
          if (!abort.signal.aborted) this.#refused(asWhiprayError(error));
        },
      )
      .finally(() => {
        this.#requests.delete(leaseId);
        this.#asked.delete(leaseId);
        this.#pump();
      });
  }

  async #lease(leaseId: string, signal: AbortSignal): Promise<TaskWorker> {
    const { jobId, namespace } = this.#driver;
    this.#place ??= await taskPlace(this.#driver, this.#shape);
    signal.throwIfAborted();
    const runtimeEnv = await this.#driver.runtimeEnvs.spec(this.#shape.runtimeEnv);
    const request = { leaseId, jobId, namespace, ...this.#shape, runtimeEnv };
    const asked = (place: TaskPlace): void => void this.#asked.set(leaseId, place);
    const { lease, place } = await leaseWorker(this.#driver, this.#place, request, signal, asked);
    const { nodeId, url, raylet } = place;
    const peer = await this.#driver.reach({ address: lease.address, socket: lease.socket, nodeId, url });
    return new TaskWorker(
      leaseId,
      lease,
      raylet,
      peer,
      this.#driver.connection.endpoint.incarnation,
      this.#clock.now(),
    );
  }

  /** What may pass is tried again, perhaps elsewhere; the rest is the answer to all that wait. */
  #refused(error: WhiprayError): void {
    this.#place = undefined;
    if (mayPass(error) && ++this.#failures < LEASE_TRIES) {
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

function cancelled(name: string, cause: unknown): TaskCancelledError {
  return new TaskCancelledError({ message: `Task ${name} was cancelled before it ran`, cause });
}
