import { WhiprayError } from "@whipray/core";
import type { Parts } from "../call.ts";
import { decodeControl, encodeControl } from "../codec.ts";
import { count, type Infer, list, optional, shape, str } from "../fields.ts";
import { FLAG, KIND } from "../frame.ts";
import { CHUNK_BYTES, INLINE_BYTES, MAX_BODY_BYTES, MAX_MESSAGE_BYTES, MAX_PARTS } from "../limits.ts";
import { chunksOf, type Route } from "../link/route.ts";

const EMPTY = new Uint8Array(0);

const lengthsField = list(count(MAX_MESSAGE_BYTES), MAX_PARTS);
const callHeaderField = shape({
  m: str(256),
  d: optional(count()),
  t: optional(str(256)),
  e: optional(count()),
  p: optional(lengthsField),
  at: optional(count(MAX_MESSAGE_BYTES)),
});
export type CallHeader = Infer<typeof callHeaderField>;
const partsHeaderField = shape({
  p: optional(lengthsField),
  at: optional(count(MAX_MESSAGE_BYTES)),
  i: optional(count()),
  n: optional(count()),
});
export type PartsHeader = Infer<typeof partsHeaderField>;

// Calls that say nothing but their method have the same header bytes each time: encode and decode them once.
const HEADER_CACHE_ENTRIES = 1_024;
/** The last header of each method: the epoch changes only when an actor restarts, the time limit seldom. */
const encodedHeaders = new Map<
  string,
  { epoch: number | undefined; deadlineMs: number | undefined; bytes: Uint8Array }
>();
/** Headers with a deadline that are kept; later ones are decoded each time. */
const DEADLINES_LIMIT = HEADER_CACHE_ENTRIES / 2;
let cachedDeadlines = 0;
/** By hash of the bytes. */
const decodedHeaders = new Map<number, { bytes: Uint8Array; header: CallHeader }>();

export function encodeCallHeader(header: CallHeader): Uint8Array {
  const plain = header.t === undefined && header.p === undefined; // `at` comes with `p` alone
  return plain ? encodePlainHeader(header.m, header.e, header.d) : encodeControl(header);
}

/** The header of a call that says nothing but its method, its epoch and the milliseconds that it has. */
export function encodePlainHeader(
  method: string,
  epoch: number | undefined,
  deadlineMs: number | undefined,
): Uint8Array {
  const known = encodedHeaders.get(method);
  if (known && known.epoch === epoch && known.deadlineMs === deadlineMs) return known.bytes;
  const bytes = encodeControl({
    m: method,
    ...(deadlineMs !== undefined && { d: deadlineMs }),
    ...(epoch !== undefined && { e: epoch }),
  });
  if (known || encodedHeaders.size < HEADER_CACHE_ENTRIES) encodedHeaders.set(method, { epoch, deadlineMs, bytes });
  return bytes;
}

/** Headers longer than this are not looked up: they carry a deadline or lengths and differ each time. */
const CACHED_HEADER_BYTES = 64;

export function decodeCallHeader(bytes: Uint8Array): CallHeader {
  if (bytes.length > CACHED_HEADER_BYTES) return callHeaderField(decodeControl(bytes), "header");
  const hash = hashOf(bytes);
  const known = decodedHeaders.get(hash);
  if (known && sameBytes(known.bytes, bytes)) return known.header;
  const header = callHeaderField(decodeControl(bytes), "header");
  if (header.t !== undefined || header.p !== undefined) return header;
  // Callers with one time limit for all of their calls send the same header each time. Those of others must not fill the cache.
  if (header.d !== undefined && ++cachedDeadlines > DEADLINES_LIMIT) return header;
  if (known || decodedHeaders.size < HEADER_CACHE_ENTRIES) {
    // A copy: the bytes are a view of everything that came with them.
    decodedHeaders.set(hash, { bytes: bytes.slice(), header });
  }
  return header;
}

/** FNV-1a; whoever makes headers collide only has them decoded each time. */
function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c_9dc5;
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x0100_0193);
  return hash >>> 0;
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

const NO_PARTS: PartsHeader = {};
export function decodePartsHeader(bytes: Uint8Array): PartsHeader {
  return bytes.length === 0 ? NO_PARTS : partsHeaderField(decodeControl(bytes), "header");
}

export function bytesOf(parts: Parts): number {
  let total = 0;
  for (const part of parts) total += part.length;
  return total;
}

/** @throws WhiprayError `PAYLOAD_TOO_LARGE` naming the limit (reliability B17). */
export function checkParts(parts: Parts): number {
  const total = bytesOf(parts);
  if (parts.length > MAX_PARTS) throw tooLarge("tensors", parts.length - 1, MAX_PARTS - 1);
  if ((parts[0]?.length ?? 0) > MAX_BODY_BYTES)
    throw tooLarge("bytes outside tensors", parts[0]!.length, MAX_BODY_BYTES);
  if (total > MAX_MESSAGE_BYTES) throw tooLarge("bytes", total, MAX_MESSAGE_BYTES);
  return total;
}

/** What may still travel without a record, and so without chunks. */
export function checkOneway(parts: Parts): void {
  const total = bytesOf(parts);
  if (total > CHUNK_BYTES) throw tooLarge("bytes in a oneway call", total, CHUNK_BYTES);
}

function tooLarge(what: string, value: number, limit: number): WhiprayError {
  return new WhiprayError({
    code: "PAYLOAD_TOO_LARGE",
    message: `A message may have at most ${limit} ${what}; this one has ${value}`,
    details: { what, value, limit },
  });
}

/** Whether a message is one frame whose header need not tell the lengths of parts. */
export function isInline(parts: Parts): boolean {
  return parts.length === 1 && parts[0]!.length <= INLINE_BYTES;
}

/**
 * Sends one message: a frame, and CHUNK frames when it is large. `header` encodes what tells of the parts: their lengths (absent when there
 * is one part inline), and where the chunks begin when the other side has the bytes before, `came` of them.
 */
export function sendMessage(
  route: Route,
  kind: number,
  flags: number,
  sequence: number,
  parts: Parts,
  header: (of: { p?: number[]; at?: number }) => Uint8Array,
  came = 0,
): void {
  const total = bytesOf(parts);
  if (total <= INLINE_BYTES || kind === KIND.ONEWAY) {
    const of = parts.length === 1 ? {} : { p: parts.map((part) => part.length) };
    route.send(kind, flags, sequence, header(of), parts);
    return;
  }
  const direction = kind === KIND.REQUEST ? 0 : FLAG.FROM_CALLEE;
  const p = parts.map((part) => part.length);
  // More than there is would be a lie: then all is sent.
  const at = came < total ? came : 0;
  route.send(kind, flags | FLAG.CHUNKED, sequence, header(at > 0 ? { p, at } : { p }), []);
  for (const chunk of chunksOf(parts, at)) route.send(KIND.CHUNK, direction, sequence, EMPTY, [chunk]);
}

/** Cuts an inline body into its parts. @throws WhiprayError `FRAME_PARTS` when the lengths do not add up. */
export function inlineParts(body: Uint8Array, lengths: readonly number[] | undefined): Uint8Array[] {
  if (lengths === undefined) return [body];
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const length of lengths) {
    parts.push(body.subarray(at, at + length));
    at += length;
  }
  if (at !== body.length) {
    throw new WhiprayError({
      code: "FRAME_PARTS",
      message: `The parts of a message have ${at} bytes by its header, ${body.length} in its frame`,
    });
  }
  return parts;
}
