import { WhiprayError } from "@whipray/core";
import {
  decodeValue,
  emptyContents,
  encodeValue,
  type Store,
  type StoreContents,
  type StoreTable,
  type StoreWrite,
} from "./store.ts";

/** What survives the store that wrote it: give the same disk to the next one, as after a restart. */
export type MemoryDisk = Map<string, { table: StoreTable; key: string; bytes: Uint8Array }>;

/** Faults for tests. A hook that throws refuses the batch; one that never resolves is a head that died at that point. */
export interface MemoryStoreHooks {
  /** Before anything of the batch is stored. */
  before?: (writes: readonly StoreWrite[]) => void | Promise<void>;
  /** It is stored, and nobody was told. */
  after?: (writes: readonly StoreWrite[]) => void | Promise<void>;
}

/** The in-memory twin of the journal on disk. */
export class MemoryStore implements Store {
  readonly #disk: MemoryDisk;
  readonly #hooks: MemoryStoreHooks;
  #tail: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(disk: MemoryDisk = new Map(), hooks: MemoryStoreHooks = {}) {
    this.#disk = disk;
    this.#hooks = hooks;
  }

  async load(): Promise<StoreContents> {
    const contents = emptyContents();
    for (const { table, key, bytes } of this.#disk.values()) contents[table].set(key, decodeValue(bytes));
    return contents;
  }

  async append(writes: readonly StoreWrite[]): Promise<void> {
    if (this.#closed) throw closedError();
    const batch = writes.map(({ table, key, value }) => ({
      table,
      key,
      bytes: value === undefined ? undefined : encodeValue(value),
    }));
    const stored = this.#tail.then(async () => {
      await this.#hooks.before?.(writes);
      for (const { table, key, bytes } of batch) {
        const at = `${table} ${key}`;
        if (bytes) this.#disk.set(at, { table, key, bytes });
        else this.#disk.delete(at);
      }
      await this.#hooks.after?.(writes);
    });
    this.#tail = stored.catch(() => undefined);
    await stored;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#tail;
  }
}

export function closedError(): WhiprayError {
  return new WhiprayError({ code: "STORAGE_CLOSED", message: "the journal is closed: the head is stopping" });
}
