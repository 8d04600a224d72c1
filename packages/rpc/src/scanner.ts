import { isUtf8 } from "node:buffer";
import { WhiprayError } from "@whipray/core";
import { isExtension } from "./extension.ts";
import { isForbiddenKey, KeyTable } from "./key-table.ts";
import { MAX_BODY_BYTES, MAX_DEPTH } from "./limits.ts";

export interface ScanOptions {
  /**
   * Keys are text in both modes, and never `__proto__`. `strict`, for headers and control bodies: neither `constructor` nor
   * `prototype`, and no duplicates. `loose`, for users' values: the last of several equal keys wins.
   */
  keys: "strict" | "loose";
  /** The extensions of PROTOCOL.md, "Values", or none at all: headers and control bodies have no need of any. */
  extensions: "ours" | "none";
}

/** Containers inside an extension: [dtype, [shape…], n] has two. They do not count towards MAX_DEPTH. */
const EXTENSION_DEPTH = 2;
const LEVELS = MAX_DEPTH + EXTENSION_DEPTH + 2;
const ARRAY = 0;
const MAP = 1;
const EXTENSION = 2;
/** Strings longer than this are checked by Node's native code. */
const SHORT_TEXT_BYTES = 48;

// One level of the stack per open container. A scan runs to its end without calling anybody else's code, so one stack is
// enough for the thread, and a scan allocates nothing however deep or long its input claims to be.
const left = new Int32Array(LEVELS);
const kinds = new Uint8Array(LEVELS);
const keyTable = new KeyTable(LEVELS);

/**
 * Checks that `bytes` are one complete msgpack value that is safe to decode (PROTOCOL.md, "Values"). Iterative; reads each
 * byte at most twice; believes no length before the bytes are there.
 *
 * @throws WhiprayError `DECODE_LENGTH`, `DECODE_DEPTH`, `DECODE_KEY`, `DECODE_UTF8`, `DECODE_EXT`, `DECODE_BYTE` or
 *   `DECODE_TRAILING`, each with the byte's `offset` in its details.
 */
export function scan(bytes: Uint8Array, options: ScanOptions): void {
  try {
    run(bytes, options.keys === "strict", options.extensions === "ours");
  } finally {
    keyTable.release();
  }
}

function run(bytes: Uint8Array, strict: boolean, extensions: boolean): void {
  if (bytes.length > MAX_BODY_BYTES) throw failure("DECODE_LENGTH", "more than 64 MiB of msgpack", MAX_BODY_BYTES);
  let at = 0;
  let end = bytes.length;
  let depth = 0;
  let depthLimit = MAX_DEPTH;
  let insideExtension = false;
  left[0] = 1;
  kinds[0] = ARRAY;

  for (;;) {
    while (left[depth] === 0) {
      if (kinds[depth] === EXTENSION || depth === 0) {
        if (at !== end) throw failure("DECODE_TRAILING", "bytes after the end of the value", at);
        if (depth === 0) return;
        end = bytes.length;
        depthLimit = MAX_DEPTH;
        insideExtension = false;
      }
      depth--;
    }
    if (at >= end) throw failure("DECODE_LENGTH", "the value ends too early", at);
    const isKey = kinds[depth] === MAP && (left[depth]! & 1) === 0;
    left[depth]!--;
    const start = at;
    const byte = bytes[at++]!;

    // What follows the byte: `size` bytes of plain content, or `count` entries, or text, or an extension.
    let size = 0;
    let count = -1;
    let map = false;
    let text = false;
    let extension = false;
    if (byte < 0x80 || byte >= 0xe0) {
      // A small number is complete.
    } else if (byte >= 0xa0 && byte < 0xc0) {
      size = byte & 0x1f;
      text = true;
    } else if (byte < 0xa0) {
      count = byte & 0x0f;
      map = byte < 0x90;
    } else {
      const rule = RULES[byte - 0xc0]!;
      if (rule === RESERVED) throw failure("DECODE_BYTE", "0xC1 is not a value", start);
      const lengthBytes = rule & 0x0f;
      if (end - at < lengthBytes) throw failure("DECODE_LENGTH", "the value ends inside a length", start);
      const claimed = lengthBytes === 0 ? rule >>> 8 : readLength(bytes, at, lengthBytes);
      at += lengthBytes;
      switch (rule & 0xf0) {
        case TEXT:
          text = true;
          size = claimed;
          break;
        case LIST:
          count = claimed;
          break;
        case TABLE:
          count = claimed;
          map = true;
          break;
        case EXTENDED:
          extension = true;
          size = claimed + 1;
          break;
        default:
          size = claimed;
      }
    }

    if (isKey && !text) throw failure("DECODE_KEY", "a map key must be text", start);
    if (count >= 0) {
      // Every entry has at least one byte, every pair two: a count above that is a lie, whatever follows.
      if (count > (map ? (end - at) >>> 1 : end - at)) {
        throw failure("DECODE_LENGTH", `${count} entries cannot be in the ${end - at} bytes that are left`, start);
      }
      if (depth >= depthLimit) {
        const limit = insideExtension ? `${EXTENSION_DEPTH} levels in an extension` : `${MAX_DEPTH} levels`;
        throw failure("DECODE_DEPTH", `nested more than ${limit}`, start);
      }
      depth++;
      left[depth] = map ? count * 2 : count;
      kinds[depth] = map ? MAP : ARRAY;
      if (map && strict) keyTable.open(depth, count);
      continue;
    }
    if (size > end - at) {
      throw failure("DECODE_LENGTH", `${size} bytes claimed, ${end - at} are left`, start);
    }
    if (extension) {
      if (insideExtension || !extensions || !isExtension(bytes[at]!)) {
        throw failure("DECODE_EXT", `extension ${bytes[at]} is not one of ours here`, start);
      }
      end = at + size;
      at++;
      depth++;
      depthLimit = depth + EXTENSION_DEPTH;
      insideExtension = true;
      left[depth] = 1;
      kinds[depth] = EXTENSION;
      continue;
    }
    if (text) {
      if (!isText(bytes, at, at + size)) throw failure("DECODE_UTF8", "text is not valid UTF-8", start);
      if (isKey) {
        if (isForbiddenKey(bytes, at, size, strict)) throw failure("DECODE_KEY", "a forbidden map key", start);
        if (strict && !keyTable.add(depth, bytes, at, size)) throw failure("DECODE_KEY", "a map key twice", start);
      }
    }
    at += size;
  }
}

// What the bytes 0xC0 … 0xDF mean: low 4 bits: width of the length that follows; next 4: sort; above: length when fixed.
const PLAIN = 0x10;
const TEXT = 0x30;
const LIST = 0x40;
const TABLE = 0x50;
const EXTENDED = 0x60;
const RESERVED = 0xf0;
const fixed = (sort: number, length: number): number => sort | (length << 8);
// biome-ignore format: one row per eight bytes of the msgpack table
const RULES = new Uint16Array([
  PLAIN, RESERVED, PLAIN, PLAIN, PLAIN | 1, PLAIN | 2, PLAIN | 4, EXTENDED | 1,
  EXTENDED | 2, EXTENDED | 4, fixed(PLAIN, 4), fixed(PLAIN, 8), fixed(PLAIN, 1), fixed(PLAIN, 2), fixed(PLAIN, 4), fixed(PLAIN, 8),
  fixed(PLAIN, 1), fixed(PLAIN, 2), fixed(PLAIN, 4), fixed(PLAIN, 8), fixed(EXTENDED, 1), fixed(EXTENDED, 2), fixed(EXTENDED, 4), fixed(EXTENDED, 8),
  fixed(EXTENDED, 16), TEXT | 1, TEXT | 2, TEXT | 4, LIST | 2, LIST | 4, TABLE | 2, TABLE | 4,
]);

function readLength(bytes: Uint8Array, at: number, width: number): number {
  let length = 0;
  for (let i = 0; i < width; i++) length = length * 256 + bytes[at + i]!;
  return length;
}

/** Whether the bytes are UTF-8 without surrogates and without overlong forms. */
function isText(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start > SHORT_TEXT_BYTES) return isUtf8(bytes.subarray(start, end));
  let at = start;
  while (at < end) {
    const byte = bytes[at]!;
    if (byte < 0x80) {
      at++;
      continue;
    }
    const more = byte < 0xc2 ? 0 : byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : byte < 0xf5 ? 3 : 0;
    if (more === 0 || at + more >= end) return false;
    const second = bytes[at + 1]!;
    if (second < (byte === 0xe0 ? 0xa0 : byte === 0xf0 ? 0x90 : 0x80)) return false;
    if (second > (byte === 0xed ? 0x9f : byte === 0xf4 ? 0x8f : 0xbf)) return false;
    for (let i = 2; i <= more; i++) if ((bytes[at + i]! & 0xc0) !== 0x80) return false;
    at += more + 1;
  }
  return true;
}

function failure(code: string, what: string, offset: number): WhiprayError {
  return new WhiprayError({ code, message: `Refused msgpack at byte ${offset}: ${what}`, details: { offset } });
}
