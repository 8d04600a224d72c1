import { sizeClass } from "./size-class.ts";
import type { PinHolder } from "./store-errors.ts";
import type { StoredObject } from "./stored-object.ts";

/** The objects of a table by id, by owner, and by the processes that read, write or wait for them. */
export class ObjectIndex {
  readonly #objects = new Map<string, StoredObject>();
  readonly #byOwner = new Map<string, Set<StoredObject>>();
  readonly #byHolder = new Map<string, Set<StoredObject>>();

  get size(): number {
    return this.#objects.size;
  }

  get(id: string): StoredObject | undefined {
    return this.#objects.get(id);
  }

  values(): IterableIterator<StoredObject> {
    return this.#objects.values();
  }

  ofOwner(owner: string): StoredObject[] {
    return [...(this.#byOwner.get(owner) ?? [])];
  }

  ofHolder(holder: string): StoredObject[] {
    return [...(this.#byHolder.get(holder) ?? [])];
  }

  add(object: StoredObject): void {
    this.#objects.set(object.id, object);
    put(this.#byOwner, object.owner, object);
    this.hold(object.creator, object);
  }

  remove(object: StoredObject): void {
    this.#objects.delete(object.id);
    drop(this.#byOwner, object.owner, object);
    drop(this.#byHolder, object.creator, object);
  }

  changeOwner(object: StoredObject, owner: string): void {
    drop(this.#byOwner, object.owner, object);
    object.owner = owner;
    put(this.#byOwner, owner, object);
  }

  hold(holder: string, object: StoredObject): void {
    put(this.#byHolder, holder, object);
  }

  /** `holder` has one reason less: forgets the object unless he reads it, writes it or waits for it. */
  letGo(holder: string, object: StoredObject): void {
    const { creator, state, pins, waiters } = object;
    const writes = creator === holder && (state === "writing" || state === "waiting");
    if (writes || pins.has(holder) || waiters.some((waiter) => waiter.holder === holder)) return;
    drop(this.#byHolder, holder, object);
  }

  /** All of them, and bytes of segments that somebody reads. */
  counts(): { objects: number; pinnedBytes: number } {
    let pinnedBytes = 0;
    for (const { pins, bytes } of this.#objects.values()) if (pins.size > 0) pinnedBytes += sizeClass(bytes);
    return { objects: this.#objects.size, pinnedBytes };
  }

  /** Everybody who reads something. */
  readers(): Set<string> {
    const readers = new Set<string>();
    for (const [holder, objects] of this.#byHolder)
      if ([...objects].some(({ pins }) => pins.has(holder))) readers.add(holder);
    return readers;
  }

  /** Who keeps how much from being spilled. */
  holders(): PinHolder[] {
    const holders = new Map<string, { holder: string; objects: number; bytes: number }>();
    for (const { bytes, pins, creator, state } of this.#objects.values()) {
      for (const holder of state === "writing" ? [creator] : pins.keys()) {
        const known = holders.get(holder) ?? { holder, objects: 0, bytes: 0 };
        known.objects++;
        known.bytes += bytes;
        holders.set(holder, known);
      }
    }
    return [...holders.values()];
  }
}

function put(by: Map<string, Set<StoredObject>>, key: string, object: StoredObject): void {
  const known = by.get(key);
  if (known) known.add(object);
  else by.set(key, new Set([object]));
}

function drop(by: Map<string, Set<StoredObject>>, key: string, object: StoredObject): void {
  const known = by.get(key);
  if (known?.delete(object) && known.size === 0) by.delete(key);
}
