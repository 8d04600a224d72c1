import { writeLayout } from "./layout.ts";
import type { SegmentMapper, SegmentPlace } from "./segment.ts";

/** Segments that one process keeps mapped for writing: a mapping whose pages are known is three times as fast as a new one. */
export const WRITER_MAPPINGS_LIMIT = 64;

/** Writes objects into segments that the store granted. */
export class SegmentWriter {
  readonly #mapper: SegmentMapper;
  /** By name, least recently used first. */
  readonly #mapped = new Map<string, { memory: Uint8Array; unmap: () => void }>();

  constructor(mapper: SegmentMapper) {
    this.#mapper = mapper;
  }

  /** @throws WhiprayError `SEGMENT_LOST`. */
  write(place: SegmentPlace, parts: readonly Uint8Array[]): void {
    writeLayout(this.#memory(place), parts);
  }

  close(): void {
    for (const { unmap } of this.#mapped.values()) unmap();
    this.#mapped.clear();
  }

  #memory(place: SegmentPlace): Uint8Array {
    let known = this.#mapped.get(place.name);
    if (known) this.#mapped.delete(place.name);
    else {
      const { memory, unmap } = this.#mapper.writable(place);
      known = { memory: new Uint8Array(memory), unmap };
    }
    this.#mapped.set(place.name, known);
    const [oldest] = this.#mapped;
    if (oldest && this.#mapped.size > WRITER_MAPPINGS_LIMIT) {
      this.#mapped.delete(oldest[0]);
      oldest[1].unmap();
    }
    return known.memory;
  }
}
