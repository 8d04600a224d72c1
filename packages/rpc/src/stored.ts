import type { Parts } from "./call.ts";
import { decodeControl, encodeControl } from "./codec.ts";
import { EXTENSION } from "./extension.ts";
import { count, list, str } from "./fields.ts";
import type { SegmentWire } from "./messages/object.ts";
import { StoredWire } from "./object-ref.ts";

const EXT_8 = 0xc7;
const EXT_16 = 0xc8;

const fieldsField = list((value) => value, 16);
const addressField = str(256);

/**
 * The one part of a message that stands for the parts of a stored object. With `segment` for an engine, which maps it by that and asks
 * nobody.
 */
export function encodeStored(stored: StoredWire, segment?: SegmentWire): Uint8Array[] {
  const { id, ownerAddress, ownerIncarnation, bytes, location } = stored;
  const place = segment ? [segment.pid, segment.fd, segment.name, segment.bytes] : [];
  const data = encodeControl([id, ownerAddress, ownerIncarnation, bytes, location, ...place]);
  const size = data.length < 0x100 ? [data.length] : [data.length >> 8, data.length & 0xff];
  const head = Uint8Array.of(data.length < 0x100 ? EXT_8 : EXT_16, ...size, EXTENSION.STORED);
  return [Buffer.concat([head, data])];
}

/**
 * Where the values of a message lie, when they are not in it.
 * @throws WhiprayError `DECODE_…`, `INVALID_MESSAGE`, `RANGE` when it claims to be one and is not.
 */
export function storedOf(parts: Parts): StoredWire | undefined {
  const first = parts[0];
  if (first === undefined || parts.length !== 1 || (first[0] !== EXT_8 && first[0] !== EXT_16)) return undefined;
  const head = first[0] === EXT_8 ? 3 : 4;
  if (first[head - 1] !== EXTENSION.STORED) return undefined;
  return storedFrom(fieldsField(decodeControl(first.subarray(head)), "stored"));
}

/** @throws WhiprayError `INVALID_MESSAGE`, `RANGE`. */
function storedFrom([id, owner, incarnation, bytes, location]: unknown[]): StoredWire {
  return new StoredWire(
    str(64)(id, "stored.id"),
    addressField(owner, "stored.owner"),
    str(64)(incarnation, "stored.incarnation"),
    count()(bytes, "stored.bytes"),
    addressField(location, "stored.location"),
  );
}

/** The shortest extension that is a handle has as many bytes: its actor's id alone takes more than half. */
const HANDLE_LEAST_BYTES = 32;

/** Whether a value can have actor handles in it: a quick look, true also by chance. */
export function mayHaveHandles(body: Uint8Array | undefined): boolean {
  if (body === undefined || body.length < HANDLE_LEAST_BYTES) return false;
  for (let at = body.indexOf(EXT_8); at >= 0; at = body.indexOf(EXT_8, at + 1))
    if (body[at + 2] === EXTENSION.ACTOR_HANDLE) return true;
  for (let at = body.indexOf(EXT_16); at >= 0; at = body.indexOf(EXT_16, at + 1))
    if (body[at + 3] === EXTENSION.ACTOR_HANDLE) return true;
  return false;
}
