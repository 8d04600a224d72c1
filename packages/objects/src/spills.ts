import { sizeClass } from "./size-class.ts";
import { DISK_FULL_PAUSE_MS, SPILLS_AT_ONCE } from "./store-limits.ts";
import type { StoredObject } from "./stored-object.ts";

/** Spill files within their quota, and which of them are being written. */
export class Spills {
  readonly #limitBytes: number;
  readonly #writing = new Set<StoredObject>();
  #usedBytes = 0;
  #full: { readonly until: number; readonly reason: string } | undefined;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** On disk, with what is being written. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Memory that the writes under way will set free. */
  get comingBytes(): number {
    let bytes = 0;
    for (const object of this.#writing) if (object.pins.size === 0) bytes += sizeClass(object.bytes);
    return bytes;
  }

  /** Why the last object could not be spilled, until it is worth another try. */
  get fullBecause(): string | undefined {
    return this.#full?.reason;
  }

  /** Whether a file may be written now: few enough are, and it fits. */
  start(object: StoredObject, now: number): boolean {
    if (this.#full && now >= this.#full.until) this.#full = undefined;
    if (this.#full || this.#writing.size >= SPILLS_AT_ONCE) return false;
    if (this.#usedBytes + object.bytes > this.#limitBytes) {
      this.#full = { until: now, reason: "the spill quota is used up" };
      return false;
    }
    this.#usedBytes += object.bytes;
    this.#writing.add(object);
    return true;
  }

  /** A write is over. False when there was none. */
  ended(object: StoredObject): boolean {
    return this.#writing.delete(object);
  }

  erased(object: StoredObject): void {
    this.#usedBytes -= object.bytes;
  }

  /** Writing failed: nothing more is tried for a while. */
  failed(reason: string, now: number): void {
    this.#full = { until: now + DISK_FULL_PAUSE_MS, reason };
  }
}
