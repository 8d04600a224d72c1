import type { WhiprayError } from "@whipray/core";
import type { ItemStream, Parts } from "../call.ts";
import { STREAM_DEMAND } from "../limits.ts";

type Result = IteratorResult<Parts, Parts | undefined>;
interface Waiter {
  resolve(result: Result): void;
  reject(error: WhiprayError): void;
}

export interface ItemQueueEvents {
  /** Items may be produced up to `granted`, counted from the start; those before `consumed` need not be kept. */
  demand(granted: number, consumed: number): void;
  /** The reader left early. */
  cancel(): void;
}

/**
 * The reading side of a stream: items are pushed in, an async iterator takes them out, and demand goes back as they are
 * taken. Ends exactly once; what was produced before a failure stays readable (ray.md 8.56).
 */
export class ItemQueue implements ItemStream {
  readonly #events: ItemQueueEvents;
  #items: Parts[] = [];
  #waiters: Waiter[] = [];
  #next = 0;
  #consumed = 0;
  #granted = STREAM_DEMAND;
  #end: { error?: WhiprayError; value?: Parts | undefined } | undefined;
  #left = false;

  constructor(events: ItemQueueEvents) {
    this.#events = events;
  }

  /** Index of the item that comes next: where a resumed stream goes on. */
  get nextIndex(): number {
    return this.#next;
  }

  get granted(): number {
    return this.#granted;
  }

  get consumed(): number {
    return this.#consumed;
  }

  /** An item arrived. One that was here before (sent again after a reconnect) is dropped. */
  push(index: number, parts: Parts): void {
    if (index !== this.#next || this.#end) return;
    this.#next++;
    if (this.#left) return;
    const waiter = this.#waiters.shift();
    if (waiter) {
      waiter.resolve({ done: false, value: parts });
      this.#took();
    } else this.#items.push(parts);
  }

  finish(value?: Parts): void {
    this.#finish({ value });
  }

  fail(error: WhiprayError): void {
    this.#finish({ error });
  }

  #finish(end: { error?: WhiprayError; value?: Parts | undefined }): void {
    if (this.#end) return;
    this.#end = end;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) this.#settle(waiter);
  }

  // The error is given once; afterwards the stream is simply over.
  #settle(waiter: Waiter): void {
    const end = this.#end!;
    if (end.error) {
      waiter.reject(end.error);
      this.#end = {};
    } else waiter.resolve({ done: true, value: end.value });
  }

  #took(): void {
    this.#consumed++;
    if (this.#end || this.#granted - this.#consumed > STREAM_DEMAND / 2) return;
    this.#granted = this.#consumed + STREAM_DEMAND;
    this.#events.demand(this.#granted, this.#consumed);
  }

  next(): Promise<Result> {
    const item = this.#items.shift();
    if (item) {
      this.#took();
      return Promise.resolve({ done: false, value: item });
    }
    return new Promise((resolve, reject) => {
      if (this.#end) this.#settle({ resolve, reject });
      else this.#waiters.push({ resolve, reject });
    });
  }

  /** A `break` of the reader: the producer is cancelled, what is buffered is dropped. */
  return(): Promise<Result> {
    this.#left = true;
    this.#items = [];
    if (!this.#end) {
      this.#events.cancel();
      this.#finish({});
    }
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
