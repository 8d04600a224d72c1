import { WhiprayError } from "@whipray/core";
import { MAX_FRAME_BYTES, MAX_HEADER_BYTES, PREFIX_BYTES } from "./limits.ts";

/** Kinds of frames (PROTOCOL.md, "Frame"). */
export const KIND = {
  HELLO: 1,
  WELCOME: 2,
  REFUSE: 3,
  PING: 4,
  PONG: 5,
  GOODBYE: 6,
  OPEN: 8,
  OPENED: 9,
  CLOSE: 10,
  REQUEST: 16,
  ONEWAY: 17,
  CANCEL: 18,
  REPLY: 19,
  ERROR: 20,
  ITEM: 21,
  END: 22,
  CHUNK: 23,
  CREDIT: 24,
  DEMAND: 25,
  ACK: 26,
} as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

/** Bits of a frame's flags; the others are ignored. */
export const FLAG = { CHUNKED: 1, FROM_CALLEE: 2, STREAM: 4, SPARES_CHILDREN: 8 } as const;

/** A frame taken apart. `header` and `body` are views of the raw frame. */
export interface Frame {
  readonly route: number;
  /** One of `KIND`, or a number that only a newer peer knows. */
  readonly kind: number;
  readonly flags: number;
  /** Number of the call, 0 where there is none. */
  readonly sequence: number;
  readonly header: Uint8Array;
  readonly body: Uint8Array;
}

const TWO_32 = 4_294_967_296;
/** Prefixes are cut from slabs: one allocation for some thousand frames. No prefix is ever handed out twice. */
const SLAB_BYTES = PREFIX_BYTES * 1_024;
const EMPTY = new Uint8Array(0);

let slab = new ArrayBuffer(SLAB_BYTES);
let slabView = new DataView(slab);
let slabUsed = 0;

/**
 * The 20 bytes before header and body.
 *
 * @throws WhiprayError `FRAME_SIZE` when header and body together, or the header alone, are above their limit;
 *   `FRAME_SEQUENCE` for a sequence that is no whole number up to 2^53 − 1.
 */
export function encodePrefix(
  route: number,
  kind: number,
  flags: number,
  headerLength: number,
  sequence: number,
  bodyLength: number,
): Uint8Array {
  const length = headerLength + bodyLength;
  if (!(headerLength <= MAX_HEADER_BYTES)) throw tooLong("header", headerLength, MAX_HEADER_BYTES);
  if (!(length <= MAX_FRAME_BYTES)) throw tooLong("frame", length, MAX_FRAME_BYTES);
  if (!Number.isSafeInteger(sequence) || sequence < 0) throw badSequence(sequence);
  if (slabUsed === SLAB_BYTES) {
    slab = new ArrayBuffer(SLAB_BYTES);
    slabView = new DataView(slab);
    slabUsed = 0;
  }
  const at = slabUsed;
  slabUsed += PREFIX_BYTES;
  slabView.setUint32(at, length, true);
  slabView.setUint32(at + 4, route, true);
  slabView.setUint8(at + 8, kind);
  slabView.setUint8(at + 9, flags);
  slabView.setUint16(at + 10, headerLength, true);
  slabView.setUint32(at + 12, sequence % TWO_32, true);
  slabView.setUint32(at + 16, Math.floor(sequence / TWO_32), true);
  return new Uint8Array(slab, at, PREFIX_BYTES);
}

/** One whole frame in one piece: for small frames, tests and vectors. Senders of large ones pass the pieces on. */
export function encodeFrame(
  route: number,
  kind: number,
  flags: number,
  sequence: number,
  header: Uint8Array = EMPTY,
  body: Uint8Array = EMPTY,
): Uint8Array {
  const raw = new Uint8Array(PREFIX_BYTES + header.length + body.length);
  raw.set(encodePrefix(route, kind, flags, header.length, sequence, body.length));
  raw.set(header, PREFIX_BYTES);
  raw.set(body, PREFIX_BYTES + header.length);
  return raw;
}

// Cheap readers of a raw frame: no allocation, no checks. A FrameSplitter gives at least the whole prefix.

/** Bytes after the prefix. */
export function frameLength(raw: Uint8Array): number {
  return readU32(raw, 0);
}
export function frameRoute(raw: Uint8Array): number {
  return readU32(raw, 4);
}
export function frameKind(raw: Uint8Array): number {
  return raw[8]!;
}
export function frameFlags(raw: Uint8Array): number {
  return raw[9]!;
}
export function frameHeaderLength(raw: Uint8Array): number {
  return raw[10]! | (raw[11]! << 8);
}
/** Not exact above 2^53; `parseFrame` refuses those. */
export function frameSequence(raw: Uint8Array): number {
  return readU32(raw, 16) * TWO_32 + readU32(raw, 12);
}

/** Changes the route in place: what a forwarder does to a frame that it passes on. */
export function rewriteRoute(raw: Uint8Array, route: number): void {
  raw[4] = route;
  raw[5] = route >>> 8;
  raw[6] = route >>> 16;
  raw[7] = route >>> 24;
}

/**
 * Takes a whole raw frame apart without copying.
 *
 * @throws WhiprayError `FRAME_SIZE` when the lengths do not fit the bytes; `FRAME_SEQUENCE` above 2^53 − 1.
 */
export function parseFrame(raw: Uint8Array): Frame {
  if (raw.length < PREFIX_BYTES || raw.length !== PREFIX_BYTES + frameLength(raw)) {
    throw new WhiprayError({
      code: "FRAME_SIZE",
      message: `A frame of ${raw.length} bytes does not have the length that its prefix says`,
      details: { bytes: raw.length, expected: raw.length < 4 ? PREFIX_BYTES : PREFIX_BYTES + frameLength(raw) },
    });
  }
  if (frameLength(raw) > MAX_FRAME_BYTES) throw tooLong("frame", frameLength(raw), MAX_FRAME_BYTES);
  const headerLength = frameHeaderLength(raw);
  if (headerLength > frameLength(raw)) throw tooLong("header", headerLength, frameLength(raw));
  const sequence = frameSequence(raw);
  if (sequence > Number.MAX_SAFE_INTEGER) throw badSequence(sequence);
  const bodyAt = PREFIX_BYTES + headerLength;
  return {
    route: frameRoute(raw),
    kind: frameKind(raw),
    flags: frameFlags(raw),
    sequence,
    header: view(raw, PREFIX_BYTES, bodyAt),
    body: view(raw, bodyAt, raw.length),
  };
}

/** A view that is never a Buffer, whatever `raw` is: what reaches users is a plain Uint8Array. */
export function view(raw: Uint8Array, start: number, end: number): Uint8Array {
  return start === end ? EMPTY : new Uint8Array(raw.buffer, raw.byteOffset + start, end - start);
}

export function readU32(raw: Uint8Array, at: number): number {
  return (raw[at]! | (raw[at + 1]! << 8) | (raw[at + 2]! << 16) | (raw[at + 3]! << 24)) >>> 0;
}

export function tooLong(what: string, bytes: number, limit: number): WhiprayError {
  return new WhiprayError({
    code: "FRAME_SIZE",
    message: `A ${what} of ${bytes} bytes is above its limit of ${limit} bytes`,
    details: { what, bytes, limit },
  });
}

function badSequence(sequence: number): WhiprayError {
  return new WhiprayError({
    code: "FRAME_SEQUENCE",
    message: `A frame's sequence must be a whole number from 0 to 2^53 − 1; got ${sequence}`,
    details: { sequence: String(sequence) },
  });
}
