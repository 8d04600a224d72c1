import { BoundedQueue } from "@whipray/core";
import type { IncomingCall } from "@whipray/rpc";

/** Calls that may wait in one queue of an actor. */
export const PENDING_CALLS_LIMIT = 1_000_000;

export interface QueuedCall {
  readonly call: IncomingCall;
  /** While it waits: its cancel is answered at once. Undoes that. */
  leave?: () => void;
  /** A promise when it takes longer than this call. */
  run(): Promise<void> | undefined;
}

/**
 * Starts calls in the order in which they came, at most `maxConcurrency` at a time (Ray: 1 for sync actors, then calls of
 * one caller also end in order). A call that is cancelled while it waits never runs.
 */
export class CallQueue {
  readonly #maxConcurrency: number;
  readonly #waiting: BoundedQueue<QueuedCall>;
  #running = 0;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(maxConcurrency: number, maxPending = PENDING_CALLS_LIMIT) {
    this.#maxConcurrency = maxConcurrency;
    this.#waiting = new BoundedQueue("the actor's queue", maxPending);
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** @throws WhiprayError `BUSY` when `maxPending` calls wait already. */
  enter(entry: QueuedCall): void {
    if (this.#running < this.#maxConcurrency && this.#waiting.length === 0) this.#start(entry);
    else {
      this.#waiting.push(entry);
      entry.leave = entry.call.onAbort((reason) => entry.call.fail(reason));
    }
  }

  /** Those that wait are not run here any more. */
  drain(): QueuedCall[] {
    const drained: QueuedCall[] = [];
    for (let entry = this.#waiting.shift(); entry; entry = this.#waiting.shift()) drained.push(entry);
    return drained;
  }

  /** Resolves when no call runs or waits. */
  idle(): Promise<void> {
    if (this.#running === 0 && this.#waiting.length === 0) return Promise.resolve();
    this.#idle ??= Promise.withResolvers();
    return this.#idle.promise;
  }

  #start(entry: QueuedCall): void {
    this.#running++;
    const ending = entry.run();
    if (!ending) this.#ended();
    else {
      void ending.finally(() => {
        this.#ended();
        this.#next();
      });
    }
  }

  #ended(): void {
    this.#running--;
    if (this.#running === 0 && this.#waiting.length === 0) this.#idle?.resolve();
  }

  #next(): void {
    while (this.#running < this.#maxConcurrency) {
      const entry = this.#waiting.shift();
      if (!entry) return;
      if (entry.call.abortedWith === undefined) {
        entry.leave?.();
        this.#start(entry);
      } else if (this.#running === 0 && this.#waiting.length === 0) this.#idle?.resolve();
    }
  }
}
