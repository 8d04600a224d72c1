import type { RefSource } from "./object-ref.ts";

/** Who wants to hear that sources settle. One reaction a source however often it is waited for, and none is left behind by a wait that ended sooner. */
export class SettleWatch {
  readonly #listeners: { readonly [fetchLocal: string]: WeakMap<RefSource, Set<() => void>> } = {
    true: new WeakMap(),
    false: new WeakMap(),
  };

  /** Calls `listener` once for each source that settles, until the returned function is called. */
  watch(sources: readonly RefSource[], fetchLocal: boolean, listener: (source: RefSource) => void): () => void {
    const ends = sources.map((source) => {
      const listeners = this.#of(source, fetchLocal);
      const tell = (): void => listener(source);
      listeners.add(tell);
      return () => listeners.delete(tell);
    });
    return () => {
      for (const end of ends) end();
    };
  }

  #of(source: RefSource, fetchLocal: boolean): Set<() => void> {
    const all = this.#listeners[String(fetchLocal)]!;
    const known = all.get(source);
    if (known) return known;
    const listeners = new Set<() => void>();
    all.set(source, listeners);
    void source.settled(fetchLocal).then(() => {
      all.delete(source);
      for (const tell of listeners) tell();
    });
    return listeners;
  }
}
