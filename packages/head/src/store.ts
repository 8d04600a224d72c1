import { deserialize, serialize } from "node:v8";

/** Where the head keeps what it acknowledged. */
export const STORE_TABLES = ["meta", "nodes", "groups", "actors", "jobs", "kv"] as const;
export type StoreTable = (typeof STORE_TABLES)[number];

/** Sets a key, or deletes it when there is no value. Values are plain data: what `structuredClone` takes. */
export interface StoreWrite {
  readonly table: StoreTable;
  readonly key: string;
  readonly value?: unknown;
}

export type StoreContents = Readonly<Record<StoreTable, ReadonlyMap<string, unknown>>>;

/**
 * A journal: batches in, the latest state out. Implemented in memory and on SQLite; both pass `test/store-contract.test.ts`, and a store
 * on Redis would.
 */
export interface Store {
  /** Everything, once, before the first append. @throws WhiprayError `STORAGE_DAMAGED`, `STORAGE_VERSION`, `STORAGE_IN_USE`, `STORAGE_FAILED`. */
  load(): Promise<StoreContents>;
  /**
   * All of `writes` or none, after every earlier batch; values are copied before it returns. Resolves when they survive the death of the
   * machine. @throws WhiprayError `STORAGE_FULL` (retryable), `STORAGE_FAILED`: then nothing of the batch is stored.
   */
  append(writes: readonly StoreWrite[]): Promise<void>;
  /** After the batches under way. Later appends fail with `STORAGE_CLOSED`. */
  close(): Promise<void>;
}

export function emptyContents(): Record<StoreTable, Map<string, unknown>> {
  return Object.fromEntries(STORE_TABLES.map((table) => [table, new Map()])) as Record<
    StoreTable,
    Map<string, unknown>
  >;
}

/** The stored form of a value. Node promises to read what older versions wrote. */
export function encodeValue(value: unknown): Uint8Array {
  return serialize(value);
}

export function decodeValue(bytes: Uint8Array): unknown {
  return deserialize(bytes);
}
