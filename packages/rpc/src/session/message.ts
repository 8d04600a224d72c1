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
});
export type CallHeader = Infer<typeof callHeaderField>;
const partsHeaderField = shape({ p: optional(lengthsField), i: optional(count()), n: optional(count()) });
export type PartsHeader = Infer<typeof partsHeaderField>;

// Calls that say nothing but their method have the same header bytes each time: encode and decode them once.
const HEADER_CACHE_ENTRIES = 1_024;
const encodedHeaders = new Map<string, Uint8Array>();
const decodedHeaders = new Map<string, CallHeader>();

export function encodeCallHeader(header: CallHeader): Uint8Array {
  const plain = header.d === undefined && header.t === undefined && header.p === undefined;
  if (!plain) return encodeControl(header);
  const key = header.e === undefined ? header.m : `${header.e}\n${header.m}`;
  let bytes = encodedHeaders.get(key);
  if (!bytes) {
    bytes = encodeControl(header);
    if (encodedHeaders.size < HEADER_CACHE_ENTRIES) encodedHeaders.set(key, bytes);
  }
  return bytes;
}

/** Headers longer than this are not looked up: they carry a deadline or lengths and differ each time. */
const CACHED_HEADER_BYTES = 64;

export function decodeCallHeader(bytes: Uint8Array): CallHeader {
  if (bytes.length > CACHED_HEADER_BYTES) return callHeaderField(decodeControl(bytes), "header");
  const key = String.fromCharCode.apply(null, bytes as unknown as number[]);
  let header = decodedHeaders.get(key);
  if (!header) {
    header = callHeaderField(decodeControl(bytes), "header");
    const plain = header.d === undefined && header.t === undefined && header.p === undefined;
    if (plain && decodedHeaders.size < HEADER_CACHE_ENTRIES) decodedHeaders.set(key, header);
  }
  return header;
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

/**
 * Sends one message: a frame, and CHUNK frames when it is large. `header` encodes the header given the lengths of the parts
 * (undefined when there is one part inline).
 */
export function sendMessage(
  route: Route,
  kind: number,
  flags: number,
  sequence: number,
  parts: Parts,
  header: (lengths: number[] | undefined) => Uint8Array,
): void {
  const total = bytesOf(parts);
  if (total <= INLINE_BYTES || kind === KIND.ONEWAY) {
    const lengths = parts.length === 1 ? undefined : parts.map((part) => part.length);
    route.send(kind, flags, sequence, header(lengths), parts as Uint8Array[]);
    return;
  }
  const direction = kind === KIND.REQUEST ? 0 : FLAG.FROM_CALLEE;
  route.send(kind, flags | FLAG.CHUNKED, sequence, header(parts.map((part) => part.length)), []);
  for (const chunk of chunksOf(parts)) route.send(KIND.CHUNK, direction, sequence, EMPTY, [chunk]);
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
