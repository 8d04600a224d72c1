import { WhiprayError } from "@whipray/core";
import type { Mapping, Segment, SegmentMapper, SegmentPlace, Segments } from "./segment.ts";

/** Segments inside of one process, for simulations and tests: maker and mapper in one. */
export class MemorySegments implements Segments, SegmentMapper {
  readonly #live = new Map<string, Uint8Array<ArrayBuffer>>();
  #made = 0;
  /** Mappings that nobody has unmapped. */
  mapped = 0;
  /** Set it and `make` fails. */
  broken: WhiprayError | undefined;

  get count(): number {
    return this.#live.size;
  }

  get bytes(): number {
    return [...this.#live.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  make(bytes: number): Segment {
    if (this.broken) throw this.broken;
    const name = `memory-${++this.#made}`;
    const memory = new Uint8Array(bytes);
    this.#live.set(name, memory);
    return {
      place: { pid: 0, fd: this.#made, name, bytes },
      read: async (offset, length) => memory.slice(offset, offset + length),
      write: async (offset, from) => memory.set(from, offset),
      lend: () => {
        this.mapped++;
        return { memory, back: () => void this.mapped-- };
      },
      discard: (mapped) => {
        if (!mapped) memory.fill(0);
        this.#live.delete(name);
      },
    };
  }

  writable(place: SegmentPlace): Mapping {
    return this.#map(this.#find(place).buffer);
  }

  readable(place: SegmentPlace, length: number): Mapping {
    return this.#map(this.#find(place).buffer.slice(0, length));
  }

  #find(place: SegmentPlace): Uint8Array<ArrayBuffer> {
    const memory = this.#live.get(place.name);
    if (memory?.byteLength === place.bytes) return memory;
    throw new WhiprayError({
      code: "SEGMENT_LOST",
      message: `There is no segment ${place.name} of ${place.bytes} bytes`,
    });
  }

  #map(memory: ArrayBuffer): Mapping {
    this.mapped++;
    return { memory, unmap: () => void this.mapped-- };
  }
}
