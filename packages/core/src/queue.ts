import { WhiprayError } from "./errors.ts";

/** A first-in first-out queue with a limit. Push and shift are O(1) amortised. */
export class BoundedQueue<T> {
  #items: (T | undefined)[] = [];
  #head = 0;
  readonly limit: number;
  readonly name: string;

  /** `name` is what errors call it; `limit` the most items it holds. */
  constructor(name: string, limit: number) {
    this.name = name;
    this.limit = limit;
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** @throws WhiprayError `BUSY` when the queue is full; the item is not taken. */
  push(item: T): void {
    if (this.length >= this.limit) {
      throw new WhiprayError({
        code: "BUSY",
        message: `${this.name} is full: ${this.length} of ${this.limit} entries; try again when some are done`,
        retryable: true,
        details: { queue: this.name, limit: this.limit },
      });
    }
    this.#items.push(item);
  }

  peek(): T | undefined {
    return this.#items[this.#head];
  }

  shift(): T | undefined {
    if (this.#head >= this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head > 1_024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Takes out the items that `drop` names, keeping the order of the rest. */
  remove(drop: (item: T) => boolean): T[] {
    const kept: T[] = [];
    const dropped: T[] = [];
    for (const item of this) (drop(item) ? dropped : kept).push(item);
    this.#items = kept;
    this.#head = 0;
    return dropped;
  }

  *[Symbol.iterator](): Iterator<T> {
    for (let i = this.#head; i < this.#items.length; i++) yield this.#items[i] as T;
  }
}
