import { WhiprayError } from "@whipray/core";

/**
 * An object in memory and in a spill file: the parts of a message one after another, each where any typed array may start. All
 * numbers are little-endian: u32 magic, u32 count, then u64 length of each part; parts begin at multiples of 64. Python reads the
 * same (`whipray_engine/segments.py`).
 */
const MAGIC = 0x31_4f_52_57; // "WRO1"
const ALIGNMENT_BYTES = 64;
const HEAD_BYTES = 8;
/** Parts that an object may have (PROTOCOL.md, MAX_PARTS). */
export const OBJECT_PARTS_LIMIT = 4_096;

/** Bytes that an object of these parts takes. */
export function layoutBytes(parts: readonly { readonly byteLength: number }[]): number {
  let end = HEAD_BYTES + 8 * parts.length;
  for (const { byteLength } of parts) end = align(end) + byteLength;
  return end;
}

/** Copies the parts into `memory`, which has `layoutBytes(parts)` or more. */
export function writeLayout(memory: Uint8Array, parts: readonly Uint8Array[]): void {
  const head = new DataView(memory.buffer, memory.byteOffset, HEAD_BYTES + 8 * parts.length);
  head.setUint32(0, MAGIC, true);
  head.setUint32(4, parts.length, true);
  let end = head.byteLength;
  for (const [index, part] of parts.entries()) {
    head.setBigUint64(HEAD_BYTES + 8 * index, BigInt(part.byteLength), true);
    memory.set(part, align(end));
    end = align(end) + part.byteLength;
  }
}

/**
 * The parts, as views of `memory`, of which the object takes all.
 * @throws WhiprayError `OBJECT_CORRUPT` when it is none: what others wrote is not trusted.
 */
export function readLayout(memory: Uint8Array): Uint8Array[] {
  if (memory.byteLength < HEAD_BYTES) throw corrupt(`it has ${memory.byteLength} bytes`);
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  const count = view.getUint32(4, true);
  if (view.getUint32(0, true) !== MAGIC) throw corrupt("it does not begin as one");
  if (count > OBJECT_PARTS_LIMIT) throw corrupt(`it has ${count} parts; the limit is ${OBJECT_PARTS_LIMIT}`);
  let end = HEAD_BYTES + 8 * count;
  if (end > memory.byteLength) throw corrupt("its head is cut off");
  const parts: Uint8Array[] = [];
  for (let index = 0; index < count; index++) {
    const start = align(end);
    end = start + Number(view.getBigUint64(HEAD_BYTES + 8 * index, true));
    if (!(end <= memory.byteLength)) throw corrupt(`part ${index} ends at ${end} of ${memory.byteLength} bytes`);
    parts.push(memory.subarray(start, end));
  }
  if (end !== memory.byteLength) throw corrupt(`its parts end at ${end} of ${memory.byteLength} bytes`);
  return parts;
}

function align(offset: number): number {
  return Math.ceil(offset / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
}

function corrupt(why: string): WhiprayError {
  return new WhiprayError({ code: "OBJECT_CORRUPT", message: `The memory does not hold an object: ${why}` });
}
