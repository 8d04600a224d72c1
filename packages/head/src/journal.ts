import { asWhiprayError, type Clock, type Logger, type Timer, type WhiprayError } from "@whipray/core";
import { JOURNAL_LATER_MS, JOURNAL_RETRY_MS } from "./limits.ts";
import type { Store, StoreTable, StoreWrite } from "./store.ts";

/** Gives what the journal shall have under a key now; undefined deletes it. */
export type RowSource = (key: string) => unknown;

interface Unsaved {
  readonly table: StoreTable;
  readonly key: string;
  readonly saved: Promise<void>;
  readonly resolve: () => void;
}

/**
 * Between tables and store. Something **new** is appended before anybody hears of it, and refused when that fails. A **change** of something
 * that exists is true in memory at once; it is tried until the store takes it, and what must not happen before (a start, a commit, a reply)
 * waits for that: a full disk makes the cluster slow, it loses nothing (reliability F8, F10).
 */
export class Journal {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #sources = new Map<StoreTable, RowSource>();
  readonly #unsaved = new Map<string, Unsaved>();
  readonly #onTrouble = new Set<(error: WhiprayError) => void>();
  /** Rows that ride with the next write. */
  readonly #later = new Map<string, { table: StoreTable; key: string }>();
  #laterTimer: Timer | undefined;
  #retry: Timer | undefined;
  #closed = false;
  /** Why the last write failed, until one succeeds. */
  trouble: WhiprayError | undefined;

  constructor(store: Store, clock: Clock, logger: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
  }

  source(table: StoreTable, read: RowSource): void {
    this.#sources.set(table, read);
  }

  /** One try. @throws WhiprayError as `Store.append`: then it did not happen. */
  async append(writes: readonly StoreWrite[]): Promise<void> {
    await this.#put(writes);
    this.trouble = undefined;
  }

  /** Stores the row as it is now; resolves when that, or a later state of it, is stored. Never rejects. */
  save(table: StoreTable, key: string): Promise<void> {
    const at = `${table} ${key}`;
    const waiting = this.#unsaved.get(at);
    if (waiting) return waiting.saved;
    this.#later.delete(at);
    return this.#put([this.#write(table, key)]).then(
      () => {
        this.trouble = undefined;
      },
      (error: unknown) => this.#failed(table, key, asWhiprayError(error, "STORAGE_FAILED")),
    );
  }

  /** Stores the row with the next write, or soon: for what a restarted head finds out again. */
  saveLater(table: StoreTable, key: string): void {
    if (this.#closed) return;
    this.#later.set(`${table} ${key}`, { table, key });
    this.#laterTimer ??= this.#clock.after(JOURNAL_LATER_MS, () => this.#flush());
  }

  #flush(): void {
    for (const { table, key } of [...this.#later.values()]) void this.save(table, key);
    this.#laterTimer?.cancel();
    this.#laterTimer = undefined;
  }

  /** To the store, with what rides along. That has no part in a failure: it is tried by itself then. */
  async #put(writes: readonly StoreWrite[]): Promise<void> {
    const riders = [...this.#later.values()];
    this.#later.clear();
    const all = [...riders.map(({ table, key }) => this.#write(table, key)), ...writes];
    try {
      await this.#store.append(all);
    } catch (error) {
      for (const { table, key } of riders) this.saveLater(table, key);
      throw error;
    }
  }

  #write(table: StoreTable, key: string): StoreWrite {
    return { table, key, value: this.#sources.get(table)!(key) };
  }

  #failed(table: StoreTable, key: string, error: WhiprayError): Promise<void> {
    this.#troubled(error);
    const at = `${table} ${key}`;
    const known = this.#unsaved.get(at);
    if (known) return known.saved;
    const { promise: saved, resolve } = Promise.withResolvers<void>();
    this.#unsaved.set(at, { table, key, saved, resolve });
    this.#retryLater();
    return saved;
  }

  #troubled(error: WhiprayError): void {
    if (this.trouble?.code !== error.code)
      this.#logger.error("the journal cannot be written", { error: error.message });
    this.trouble = error;
    for (const listener of [...this.#onTrouble]) listener(error);
  }

  #retryLater(): void {
    if (this.#closed || this.#retry || this.#unsaved.size === 0) return;
    this.#retry = this.#clock.after(JOURNAL_RETRY_MS, () => void this.#retryAll());
  }

  async #retryAll(): Promise<void> {
    const rows = [...this.#unsaved.values()];
    for (const row of rows) this.#unsaved.delete(`${row.table} ${row.key}`);
    this.#retry = undefined;
    try {
      await this.append(rows.map(({ table, key }) => this.#write(table, key)));
      for (const row of rows) row.resolve();
    } catch (error) {
      for (const { table, key, resolve } of rows) void this.#failed(table, key, asWhiprayError(error)).then(resolve);
    }
  }

  /** Waits for a save on behalf of somebody who rather hears of a full disk at once than waits for room. The save goes on. */
  async orFail(saved: Promise<void>): Promise<void> {
    const { promise: failed, reject } = Promise.withResolvers<never>();
    this.#onTrouble.add(reject);
    try {
      await Promise.race([saved, failed]);
    } finally {
      this.#onTrouble.delete(reject);
    }
  }

  close(): Promise<void> {
    this.#flush();
    this.#closed = true;
    this.#retry?.cancel();
    return this.#store.close();
  }
}
