/** How another process of this machine finds a segment: descriptor `fd` of process `pid`, which must carry this name and size. */
export interface SegmentPlace {
  readonly pid: number;
  readonly fd: number;
  readonly name: string;
  readonly bytes: number;
}

/** A piece of shared memory, in the process that owns it. Its size never changes. */
export interface Segment {
  readonly place: SegmentPlace;
  /** A copy of a range. */
  read(offset: number, length: number): Promise<Uint8Array>;
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** The memory itself, until it is given back: it stays mapped so long, also when the segment is discarded meanwhile. @throws WhiprayError `SEGMENT_FAILED`. */
  lend(): LentMemory;
  /**
   * Gives it up. Without `mapped` its memory is free at once, whoever still has it mapped (and must not look); with it, when the
   * last process has unmapped it.
   */
  discard(mapped: boolean): void;
}

export interface LentMemory {
  readonly memory: Uint8Array;
  /** Once; nobody looks at it any more. */
  back(): void;
}

/** Makes segments. The in-memory twin is `MemorySegments`. */
export interface Segments {
  /** @throws WhiprayError `SEGMENT_FAILED`: no descriptors or memory left, or not possible here. */
  make(bytes: number): Segment;
}

/** A segment in the address space of this process. */
export interface Mapping {
  readonly memory: ArrayBuffer;
  /** Detaches nothing and holds no reference to `memory`: whoever calls it makes sure that nobody looks any more. */
  readonly unmap: () => void;
}

/** Brings segments of other processes into this one. The in-memory twin is `MemorySegments`. */
export interface SegmentMapper {
  /** @throws WhiprayError `SEGMENT_LOST` when it is not there (any more), has another size, or could be truncated under us. */
  writable(place: SegmentPlace): Mapping;
  /** The first `length` bytes. Writing to them changes this process' own copy of the page, never the segment. @throws as above. */
  readable(place: SegmentPlace, length: number): Mapping;
}
