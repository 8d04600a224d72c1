import type { Clock, Timer } from "@whipray/core";
import type { Worker } from "./workers.ts";

/** A task worker that nobody leased for this long ends. */
export const TASK_IDLE_MS = 10_000;

interface Idle {
  readonly worker: Worker;
  readonly jobId: string;
  readonly kind: string;
  readonly timer: Timer;
}

/** Task workers between two leases: reused only for the same job and environment (design.md, mechanism 12). */
export class IdleTaskWorkers {
  readonly #idle = new Set<Idle>();
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #stop: (worker: Worker) => void;

  /** At most `limit` wait; the one that waited longest goes first. */
  constructor(clock: Clock, limit: number, stop: (worker: Worker) => void) {
    this.#clock = clock;
    this.#limit = limit;
    this.#stop = stop;
  }

  put(worker: Worker, jobId: string, kind: string): void {
    const timer = this.#clock.after(TASK_IDLE_MS, () => this.#end(idle));
    const idle: Idle = { worker, jobId, kind, timer };
    this.#idle.add(idle);
    const oldest = this.#idle.values().next().value;
    if (oldest && this.#idle.size > this.#limit) this.#end(oldest);
  }

  /** The one that was used last is the warmest. */
  take(kind: string): Worker | undefined {
    const found = [...this.#idle].findLast((idle) => idle.kind === kind);
    if (found) this.#forget(found);
    return found?.worker;
  }

  /** It ended by itself. */
  ended(worker: Worker): void {
    for (const idle of this.#idle) if (idle.worker === worker) this.#forget(idle);
  }

  /** The job is over, or with no job named, the node leaves. */
  clear(jobId?: string): void {
    for (const idle of this.#idle) if (jobId === undefined || idle.jobId === jobId) this.#end(idle);
  }

  #forget(idle: Idle): void {
    idle.timer.cancel();
    this.#idle.delete(idle);
  }

  #end(idle: Idle): void {
    this.#forget(idle);
    this.#stop(idle.worker);
  }
}
