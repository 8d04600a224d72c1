export { layoutBytes, OBJECT_PARTS_LIMIT, readLayout, writeLayout } from "./layout.ts";
export { MemfdSegments } from "./memfd-segments.io.ts";
export { MemorySegments } from "./memory-segments.ts";
export { MemorySpill } from "./memory-spill.ts";
export { type Attached, type NewObject, NodeStore, type NodeStoreOptions, STORE_CHUNK_BYTES } from "./node-store.ts";
export { ObjectViews } from "./object-views.ts";
export { procMapper } from "./proc-mapper.io.ts";
export type { LentMemory, Mapping, Segment, SegmentMapper, SegmentPlace, Segments } from "./segment.ts";
export { SegmentWriter, WRITER_MAPPINGS_LIMIT } from "./segment-writer.ts";
export { SMALLEST_SEGMENT_BYTES, sizeClass } from "./size-class.ts";
export { SpillFolder } from "./spill-files.io.ts";
export type { SpillFiles } from "./spill-files.ts";
export { objectFreed, objectLost } from "./store-errors.ts";
export {
  DEFAULT_LIMITS,
  DISK_FULL_PAUSE_MS,
  SPILLS_AT_ONCE,
  type StoreLimits,
} from "./store-limits.ts";
export { StoreTable } from "./store-table.ts";
export type { CreateRequest, ObjectState, SealedAs, StoreAction, StoredObject, StoreStats } from "./stored-object.ts";
