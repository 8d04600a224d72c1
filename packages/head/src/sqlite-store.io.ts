import { Worker } from "node:worker_threads";
import { sibling, WhiprayError } from "@whipray/core";
import { JOURNAL_BYTES_LIMIT } from "./limits.ts";
import { closedError } from "./memory-store.ts";
import type { StorageFailure } from "./sqlite-file.io.ts";
import type { StoreAnswer, StoreBatch, StoreOrder } from "./sqlite-store-thread.ts";
import {
  decodeValue,
  emptyContents,
  encodeValue,
  type Store,
  type StoreContents,
  type StoreTable,
  type StoreWrite,
} from "./store.ts";

interface Waiting<T> {
  resolve: (value: T) => void;
  reject: (error: WhiprayError) => void;
}

/**
 * The journal in one SQLite file (`node:sqlite`, WAL, synchronous FULL), written by a thread of its own. Batches that queue up while one
 * commit runs share the next. A damaged file is refused and left as it is.
 */
export class SqliteStore implements Store {
  readonly #file: string;
  readonly #worker: Worker;
  readonly #batches = new Map<number, Waiting<void>>();
  /** Batches of this turn: they leave in one message, and share a commit. */
  #outgoing: StoreBatch[] = [];
  #loading: Waiting<StoreContents> | undefined;
  #closing: Waiting<void> | undefined;
  #ended: WhiprayError | undefined;
  #batch = 0;

  /** `bytesLimit`: largest size of the file, default `JOURNAL_BYTES_LIMIT`. */
  constructor(file: string, options: { bytesLimit?: number } = {}) {
    this.#file = file;
    const workerData = { file, bytesLimit: options.bytesLimit ?? JOURNAL_BYTES_LIMIT };
    this.#worker = new Worker(sibling("sqlite-store-thread", import.meta.url), {
      workerData,
      execArgv: [],
      name: "whipray-journal",
    });
    this.#worker.unref();
    this.#worker.on("message", (answer: StoreAnswer) => this.#answered(answer));
    this.#worker.on("error", (cause) =>
      this.#end(
        new WhiprayError({
          code: "STORAGE_FAILED",
          message: `the thread of the journal ${file} failed: ${cause}`,
          cause,
        }),
      ),
    );
    this.#worker.on("exit", () => this.#end(closedError()));
  }

  load(): Promise<StoreContents> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      this.#loading = { resolve, reject };
      this.#order({ load: true });
    });
  }

  append(writes: readonly StoreWrite[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#ended || this.#closing) return reject(this.#ended ?? closedError());
      const batch = ++this.#batch;
      this.#batches.set(batch, { resolve, reject });
      const coded = writes.map(({ table, key, value }): [string, string, Uint8Array | null] => [
        table,
        key,
        value === undefined ? null : encodeValue(value),
      ]);
      if (this.#outgoing.push({ batch, writes: coded }) === 1) queueMicrotask(() => this.#flush());
    });
  }

  #flush(): void {
    if (this.#outgoing.length > 0) this.#order({ batches: this.#outgoing });
    this.#outgoing = [];
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return resolve();
      this.#closing = { resolve, reject };
      this.#flush();
      this.#order({ close: true });
    });
  }

  #order(order: StoreOrder): void {
    // While somebody waits for an answer, the process must not end under it.
    this.#worker.ref();
    this.#worker.postMessage(order);
  }

  #answered(answer: StoreAnswer): void {
    if ("loaded" in answer) {
      const contents = emptyContents();
      for (const [table, key, bytes] of answer.loaded) contents[table as StoreTable]?.set(key, decodeValue(bytes));
      this.#loading?.resolve(contents);
    } else if ("refused" in answer) {
      this.#loading?.reject(this.#error(answer.refused));
    } else if ("done" in answer) {
      for (const batch of answer.done) this.#take(batch)?.resolve();
    } else if ("failed" in answer) {
      for (const batch of answer.failed) this.#take(batch)?.reject(this.#error(answer.failure));
    }
    if (this.#batches.size === 0 && !this.#closing) this.#worker.unref();
  }

  #take(batch: number): Waiting<void> | undefined {
    const waiting = this.#batches.get(batch);
    this.#batches.delete(batch);
    return waiting;
  }

  #error({ code, message }: StorageFailure): WhiprayError {
    return new WhiprayError({
      code,
      message,
      retryable: code === "STORAGE_FULL" || code === "STORAGE_IN_USE",
      details: { file: this.#file },
    });
  }

  #end(error: WhiprayError): void {
    this.#ended ??= error;
    this.#loading?.reject(error);
    for (const waiting of this.#batches.values()) waiting.reject(error);
    this.#batches.clear();
    this.#closing?.resolve();
  }
}
