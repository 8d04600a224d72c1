import type { StoredObject } from "./stored-object.ts";

/** Sealed objects that nobody looks at, least recently used first: copies of what other nodes have, which can be dropped, and all others. */
export class IdleObjects {
  readonly #copies = new Set<StoredObject>();
  readonly #primaries = new Set<StoredObject>();

  add(object: StoredObject): void {
    (object.copy ? this.#copies : this.#primaries).add(object);
  }

  delete(object: StoredObject): void {
    this.#copies.delete(object);
    this.#primaries.delete(object);
  }

  get oldestCopy(): StoredObject | undefined {
    return this.#copies.values().next().value;
  }

  /** They may be deleted while one goes through them. */
  get primaries(): Iterable<StoredObject> {
    return this.#primaries;
  }

  get hasPrimaries(): boolean {
    return this.#primaries.size > 0;
  }
}
