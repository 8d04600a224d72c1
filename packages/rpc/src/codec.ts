/// <reference path="./msgpackr-no-eval.d.ts" />
import { WhiprayError } from "@whipray/core";
import { Unpackr } from "msgpackr/unpack-no-eval";
import { Decoder, type Revive } from "./decoder.ts";
import { Encoder } from "./encoder.ts";
import { MAX_PARTS } from "./limits.ts";
import { scan } from "./scanner.ts";

const STRICT = { keys: "strict", extensions: "none" } as const;
const LOOSE = { keys: "loose", extensions: "ours" } as const;

// The library reads what has no extensions. Users' values have ours, and are read by our own Decoder: msgpackr's extension table
// belongs to the whole process, where a user's `addExtension` would change what we decode (ARCHITECTURE.md, "Dependencies").
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "auto" });

// Taken while it works, so that a getter of a value may encode too.
let idle: Encoder | undefined = new Encoder();

function encode(value: unknown, root: string, parts: Uint8Array[] | undefined): Uint8Array {
  const encoder = idle ?? new Encoder();
  idle = undefined;
  try {
    return encoder.encode(value, root, parts);
  } finally {
    idle = encoder;
  }
}

/**
 * A header, a control body or an error as msgpack. The bytes stay valid: their memory is not used again.
 *
 * @throws WhiprayError `NOT_SERIALISABLE` with the path of what cannot travel; `PAYLOAD_TOO_LARGE`.
 */
export function encodeControl(value: unknown): Uint8Array {
  return encode(value, "value", undefined);
}

/**
 * The value of a header, a control body or an error, checked by the strict scanner first. Bytes in it are views of `bytes`.
 *
 * @throws WhiprayError `DECODE_…`, with the offset.
 */
export function decodeControl(bytes: Uint8Array): unknown {
  scan(bytes, STRICT);
  return unpackr.unpack(bytes);
}

/**
 * A user's values (the arguments of a call, a result, an item) as the parts of a message: part 0 is msgpack, the others
 * are the memory of tensors above INLINE_TENSOR_BYTES. That memory is not copied: it must not change until it was sent.
 *
 * @param root What the path in an error starts with: `args` gives `args[0].x.y`.
 * @throws WhiprayError `NOT_SERIALISABLE` with the path; `PAYLOAD_TOO_LARGE`.
 */
export function encodeValues(values: unknown, root = "value"): Uint8Array[] {
  const tensors: Uint8Array[] = [];
  const value = encode(values, root, tensors);
  return tensors.length === 0 ? [value] : [value, ...tensors];
}

/**
 * The values that `encodeValues` of some language wrote. Memory of tensors is a view of its part where it is aligned, else
 * a copy. One-dimensional tensors become typed arrays, all others `Tensor`.
 *
 * @throws WhiprayError `DECODE_…`, with the offset in part 0.
 */
export function decodeValues(parts: readonly Uint8Array[], revive?: Revive): unknown {
  const first = parts[0];
  if (first === undefined || parts.length > MAX_PARTS) {
    throw new WhiprayError({
      code: "DECODE_LENGTH",
      message: `A message must have 1 to ${MAX_PARTS} parts; got ${parts.length}`,
      details: { parts: parts.length, limit: MAX_PARTS },
    });
  }
  scan(first, LOOSE);
  return new Decoder(parts, revive).read();
}
