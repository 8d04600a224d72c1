import type { StoreAction, StoredObject } from "./stored-object.ts";

/** A holder of a freed object is asked to let go when he did not do so by himself: most do, when their call is over. */
export const LET_GO_AFTER_MS = 100;
/** One who still holds it then is named: somebody reaches its arrays on purpose, or his process is stuck. */
export const HELD_NAMED_AFTER_MS = 10_000;

/** Freed objects that somebody still has mapped, oldest first. */
export class FreedViews {
  readonly #unasked = new Map<StoredObject, number>();
  readonly #unnamed = new Map<StoredObject, number>();

  add(object: StoredObject, now: number): void {
    this.#unasked.set(object, now + LET_GO_AFTER_MS);
    this.#unnamed.set(object, now + HELD_NAMED_AFTER_MS);
  }

  delete(object: StoredObject): void {
    this.#unasked.delete(object);
    this.#unnamed.delete(object);
  }

  /** What is to be done now: once for each object it is asked, and once named. */
  due(now: number): StoreAction[] {
    const asked = takeDue(this.#unasked, now).flatMap(({ id, pins }) => letGo([...pins.keys()], [id]));
    const named = takeDue(this.#unnamed, now).map(({ id, bytes, pins }): StoreAction => {
      return { do: "name", object: id, bytes, holders: [...pins.keys()] };
    });
    return [...asked, ...named];
  }

  /** When one of them is due; Infinity without any. */
  get next(): number {
    const [asked = Infinity] = this.#unasked.values();
    const [named = Infinity] = this.#unnamed.values();
    return Math.min(asked, named);
  }
}

/** Asks holders for these objects; for all that they hold when none is named. */
export function letGo(holders: Iterable<string>, objects: readonly string[] = []): StoreAction[] {
  return Array.from(holders, (holder) => ({ do: "letGo", holder, objects }));
}

function takeDue(waiting: Map<StoredObject, number>, now: number): StoredObject[] {
  const found: StoredObject[] = [];
  for (const [object, at] of waiting) {
    if (at > now) break;
    waiting.delete(object);
    found.push(object);
  }
  return found;
}
