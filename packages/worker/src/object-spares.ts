import type { Clock, IdSource, Timer } from "@whipray/core";
import { objectCreate, objectFree, objectSeal, type Peer, type SegmentWire } from "@whipray/rpc";

/** Room that nobody used for this long is given back: well before others who wait for room lose patience. */
export const SPARE_IDLE_MS = 300;
/** Spares of one size: what a writer can put while the raylet answers. Large ones take longer to write than that. */
const SPARES_OF_A_SIZE = 4;
const LARGE_BYTES = 4_194_304;
/** Above this none is kept: the answer takes a hundredth of the copy, and another segment of fresh pages costs more. */
const SPARE_LIMIT_BYTES = 134_217_728;

/** Room for one object, asked for ahead. */
export interface Spare {
  readonly id: string;
  readonly segment: SegmentWire;
}

export interface ObjectSparesOptions {
  readonly ids: IdSource;
  readonly clock: Clock;
  readonly raylet: () => Peer;
}

interface Shelf {
  readonly spares: (Spare & { readonly idle: Timer })[];
  asked: number;
}

/** Segments at hand of each size that was written lately: the next object of that size is written at once, without asking first. */
export class ObjectSpares {
  readonly #options: ObjectSparesOptions;
  readonly #shelves = new Map<number, Shelf>();

  constructor(options: ObjectSparesOptions) {
    this.#options = options;
  }

  /** The one that was used last of all: its pages are the warmest. */
  take(segmentBytes: number): Spare | undefined {
    const spare = this.#shelves.get(segmentBytes)?.spares.pop();
    spare?.idle.cancel();
    return spare;
  }

  /** An object of this size was written: others may follow. The raylet refuses when it has not plenty of room. */
  prepare(segmentBytes: number): void {
    const shelf = this.#shelves.get(segmentBytes) ?? { spares: [], asked: 0 };
    this.#shelves.set(segmentBytes, shelf);
    const wanted = segmentBytes > SPARE_LIMIT_BYTES ? 0 : segmentBytes > LARGE_BYTES ? 1 : SPARES_OF_A_SIZE;
    while (shelf.spares.length + shelf.asked < wanted) void this.#ask(segmentBytes, shelf);
  }

  async #ask(segmentBytes: number, shelf: Shelf): Promise<void> {
    const { ids, clock, raylet } = this.#options;
    const id = ids.next("obj");
    shelf.asked++;
    try {
      const { segment } = await raylet().invoke(objectCreate, { id, bytes: segmentBytes, spare: true });
      const spare = { id, segment, idle: clock.after(SPARE_IDLE_MS, () => this.#giveBack(shelf, id)) };
      shelf.spares.push(spare);
    } catch {
      // No plenty of room: the next object asks, and waits.
    } finally {
      shelf.asked--;
    }
  }

  #giveBack(shelf: Shelf, id: string): void {
    const at = shelf.spares.findIndex((spare) => spare.id === id);
    if (at < 0) return;
    shelf.spares.splice(at, 1);
    const raylet = this.#options.raylet();
    // Freed, and not written any more: the segment can be used again.
    const told = [raylet.invoke(objectFree, { ids: [id] }), raylet.invoke(objectSeal, { id })];
    for (const one of told) one.catch(() => {}); // the end of the session does the same
  }
}
