import { limit } from "./full-table.ts";
import { KV_BYTES_LIMIT, KV_KEYS_LIMIT } from "./limits.ts";

/** What the journal keeps of a value. */
export interface KvRecord {
  readonly namespace: string;
  readonly key: string;
  readonly value: Uint8Array;
  /** Wall time at which it ends. */
  readonly endsAtWallMs?: number | undefined;
}

export interface KvEntry {
  readonly record: KvRecord;
  readonly endsAtMs: number | undefined;
}

/** Small values by namespace and key, some with a time to live. Pure. */
export class KvTable {
  readonly #entries = new Map<string, KvEntry>();
  #bytes = 0;

  restore(records: Iterable<KvRecord>, nowMs: number, wallMs: number): void {
    for (const record of records) {
      const { endsAtWallMs } = record;
      this.set({
        record,
        endsAtMs: endsAtWallMs === undefined ? undefined : nowMs + Math.max(0, endsAtWallMs - wallMs),
      });
    }
  }

  /** Undefined when the key exists and is not to be overwritten. @throws WhiprayError `LIMIT` (keys, bytes). */
  put(
    record: KvRecord,
    overwrite: boolean,
    ttlMs: number | undefined,
    nowMs: number,
  ): { before: KvEntry | undefined } | undefined {
    const before = this.#live(kvId(record.namespace, record.key), nowMs);
    if (before && !overwrite) return undefined;
    if (!before && this.#entries.size >= KV_KEYS_LIMIT) throw limit("keys", KV_KEYS_LIMIT);
    if (this.#bytes - sizeOf(before) + sizeOf({ record }) > KV_BYTES_LIMIT)
      throw limit("bytes of keys and values", KV_BYTES_LIMIT);
    this.set({ record, endsAtMs: ttlMs === undefined ? undefined : nowMs + ttlMs });
    return { before };
  }

  set(entry: KvEntry): void {
    const id = kvId(entry.record.namespace, entry.record.key);
    this.remove(id);
    this.#entries.set(id, entry);
    this.#bytes += sizeOf(entry);
  }

  remove(id: string): KvEntry | undefined {
    const entry = this.#entries.get(id);
    if (entry) this.#bytes -= sizeOf(entry);
    this.#entries.delete(id);
    return entry;
  }

  get(id: string, nowMs: number): KvEntry | undefined {
    return this.#live(id, nowMs);
  }

  record(id: string): KvRecord | undefined {
    return this.#entries.get(id)?.record;
  }

  /** Keys of a namespace that start with `prefix`, sorted. */
  keys(namespace: string, prefix: string, nowMs: number): string[] {
    const found: string[] = [];
    for (const { record, endsAtMs } of this.#entries.values()) {
      const ended = endsAtMs !== undefined && nowMs >= endsAtMs;
      if (!ended && record.namespace === namespace && record.key.startsWith(prefix)) found.push(record.key);
    }
    return found.sort();
  }

  /** Ids of values whose time is over. */
  ended(nowMs: number): string[] {
    return [...this.#entries].flatMap(([id, { endsAtMs }]) =>
      endsAtMs !== undefined && nowMs >= endsAtMs ? [id] : [],
    );
  }

  #live(id: string, nowMs: number): KvEntry | undefined {
    const entry = this.#entries.get(id);
    return entry && (entry.endsAtMs === undefined || nowMs < entry.endsAtMs) ? entry : undefined;
  }
}

/** One id for namespace and key; a namespace has no line break. */
export function kvId(namespace: string, key: string): string {
  return `${namespace}\n${key}`;
}

function sizeOf(entry: { record: KvRecord } | undefined): number {
  return entry ? entry.record.key.length + entry.record.value.length : 0;
}
