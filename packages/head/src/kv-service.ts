import { type Infer, kvDelete, kvGet, kvKeys, kvPut } from "@whipray/rpc";
import type { HeadContext } from "./context.ts";
import { kvId } from "./kv-table.ts";
import { checkName } from "./names.ts";

/** Serves `kv.*`. */
export class KvService {
  readonly #ctx: HeadContext;

  constructor(ctx: HeadContext) {
    this.#ctx = ctx;
  }

  serve(): void {
    const { endpoint, kv, clock } = this.#ctx;
    endpoint.serve(kvPut, (request) => this.#put(request));
    endpoint.serve(kvGet, ({ namespace, key }) => {
      const entry = kv.get(kvId(namespace, key), clock.now());
      return entry ? { value: entry.record.value } : {};
    });
    endpoint.serve(kvDelete, (request) => this.#delete(request));
    endpoint.serve(kvKeys, ({ namespace, prefix }) => ({ keys: kv.keys(namespace, prefix, clock.now()) }));
  }

  async #put(request: Infer<(typeof kvPut)["request"]>): Promise<{ added: boolean }> {
    const { kv, clock, journal } = this.#ctx;
    const { namespace, key, value, overwrite, ttlMs } = request;
    checkName("namespace", namespace);
    const endsAtWallMs = ttlMs === undefined ? undefined : clock.wallMs() + ttlMs;
    const record = { namespace, key, value, endsAtWallMs };
    const put = kv.put(record, overwrite, ttlMs, clock.now());
    if (!put) return { added: false };
    const id = kvId(namespace, key);
    try {
      await journal.append([{ table: "kv", key: id, value: record }]);
    } catch (error) {
      // As it was, unless somebody has changed it since.
      if (kv.record(id) === record) kv.remove(id);
      if (put.before && kv.record(id) === undefined) kv.set(put.before);
      throw error;
    }
    return { added: put.before === undefined };
  }

  async #delete({ namespace, key, prefix }: Infer<(typeof kvDelete)["request"]>): Promise<{ deleted: number }> {
    const { kv, clock, journal } = this.#ctx;
    const keys = prefix ? kv.keys(namespace, key, clock.now()) : [key];
    const removed = keys.flatMap((one) => kv.remove(kvId(namespace, one)) ?? []);
    try {
      if (removed.length > 0) {
        await journal.append(removed.map(({ record }) => ({ table: "kv", key: kvId(namespace, record.key) })));
      }
    } catch (error) {
      for (const entry of removed) if (!kv.record(kvId(namespace, entry.record.key))) kv.set(entry);
      throw error;
    }
    return { deleted: removed.length };
  }

  tick(nowMs: number): void {
    const { kv, journal } = this.#ctx;
    for (const id of kv.ended(nowMs)) {
      kv.remove(id);
      void journal.save("kv", id);
    }
  }
}
