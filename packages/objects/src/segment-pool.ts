interface IdleSegment {
  readonly segment: number;
  readonly bytes: number;
  /** Who wrote it last, and still has it mapped for writing. */
  readonly writer: string;
  readonly idleSince: number;
}

/** A segment to use; a fresh one has to be made first. */
export interface Room {
  readonly segment: number;
  readonly fresh: boolean;
}

/** The segments of a store within its capacity: in use, or kept warm for the next object of the same size. */
export class SegmentPool {
  readonly #capacityBytes: number;
  readonly #limit: number;
  /** Least recently used first. */
  readonly #idle = new Map<number, IdleSegment>();
  readonly #discard: (segment: number) => void;
  #idleBytes = 0;
  #bytes = 0;
  #count = 0;
  #last = 0;

  /** @param discard Told of every warm segment that is given up. */
  constructor(capacityBytes: number, limit: number, discard: (segment: number) => void) {
    this.#capacityBytes = capacityBytes;
    this.#limit = limit;
    this.#discard = discard;
  }

  get usedBytes(): number {
    return this.#bytes - this.#idleBytes;
  }

  get idleBytes(): number {
    return this.#idleBytes;
  }

  /** When the oldest warm segment was used last. */
  get idleSince(): number | undefined {
    return this.#oldest()?.idleSince;
  }

  /** A warm segment of exactly this size (the one that `writer` wrote last, if there is one), else a fresh one if it fits. */
  take(bytes: number, writer: string): Room | undefined {
    let warm: IdleSegment | undefined;
    for (const idle of this.#idle.values()) {
      if (idle.bytes === bytes && (idle.writer === writer || warm?.writer !== writer)) warm = idle;
    }
    if (warm) {
      this.#idle.delete(warm.segment);
      this.#idleBytes -= bytes;
      return { segment: warm.segment, fresh: false };
    }
    if (this.short(bytes) > 0) return undefined;
    while (this.#bytes + bytes > this.#capacityBytes || this.#count >= this.#limit) this.#dropOldest();
    this.#bytes += bytes;
    this.#count++;
    return { segment: ++this.#last, fresh: true };
  }

  /** Bytes that users have to give back before a segment of this size can be made. */
  short(bytes: number): number {
    const short = Math.max(0, this.usedBytes + bytes - this.#capacityBytes);
    const full = this.#count >= this.#limit && this.#idle.size === 0;
    return full ? Math.max(short, 1) : short;
  }

  /** Half of the store is kept from who only may need it. */
  hasPlenty(bytes: number): boolean {
    return this.short(bytes) === 0 && this.usedBytes + bytes <= this.#capacityBytes / 2;
  }

  /** Nobody uses it any more, and nobody has it mapped but its writer. */
  giveBack(segment: number, bytes: number, writer: string, now: number): void {
    this.#idle.set(segment, { segment, bytes, writer, idleSince: now });
    this.#idleBytes += bytes;
  }

  /** A used one is gone, or was never made. */
  lost(bytes: number): void {
    this.#bytes -= bytes;
    this.#count--;
  }

  /** Gives up what was not used for `warmMs`. */
  expire(now: number, warmMs: number): void {
    // Summed as who waits for it does: with a difference the last bit may say "not yet" at the very time that was awaited.
    while ((this.idleSince ?? Infinity) + warmMs <= now) this.#dropOldest();
  }

  #oldest(): IdleSegment | undefined {
    return this.#idle.values().next().value;
  }

  #dropOldest(): void {
    const oldest = this.#oldest();
    if (!oldest) return;
    this.#idle.delete(oldest.segment);
    this.#idleBytes -= oldest.bytes;
    this.lost(oldest.bytes);
    this.#discard(oldest.segment);
  }
}
