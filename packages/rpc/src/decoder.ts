import { WhiprayError } from "@whipray/core";
import { EXTENSION } from "./extension.ts";
import { view } from "./frame.ts";
import { INLINE_TENSOR_BYTES } from "./limits.ts";
import { ActorHandleWire, ObjectRefWire, StoredWire } from "./object-ref.ts";
import { isDtype, Tensor, tensorBytes, typedView } from "./tensor.ts";

/** Arrays up to this length are made in one piece. */
const SMALL_ARRAY = 64;
/** Longer texts are not looked for among those before. */
const REPEATED_TEXT_BYTES = 64;

/** How the list of a reference's five fields begins. */
const REF_FIELDS = 0x95;
const NIL = 0xc0;
/** Characters of an id (`ids.ts` of core), and the byte before them. */
const ID_BYTES = 20;
const ID_HEAD = 0xa0 | ID_BYTES;

/** Makes the receiver's own objects of references; without one they stay `ObjectRefWire` and `ActorHandleWire`. */
export interface Revive {
  objectRef?: (wire: ObjectRefWire) => unknown;
  actorHandle?: (wire: ActorHandleWire) => unknown;
}

const TWO_32 = 4_294_967_296;
/** Texts up to this long are put together here; longer ones by Node's native code. */
const SHORT_TEXT_BYTES = 12;

/**
 * Reads one msgpack value that `scan` has accepted: it trusts lengths, depth, UTF-8 and keys, and recurses at most
 * MAX_DEPTH deep. Bytes become views of the input.
 */
export class Decoder {
  readonly #bytes: Uint8Array;
  readonly #parts: readonly Uint8Array[];
  readonly #revive: Revive | undefined;
  #buffer: Buffer | undefined;
  #view: DataView | undefined;
  #at = 0;
  /** In a long array: the latest text of each length, and where it is. Its elements repeat much, refs their owner. */
  #latest: { at: number; text: string }[] | undefined;

  constructor(parts: readonly Uint8Array[], revive?: Revive) {
    this.#bytes = parts[0]!;
    this.#parts = parts;
    this.#revive = revive;
  }

  /** @throws WhiprayError `DECODE_EXT` when the data of an extension is not what PROTOCOL.md says. */
  read(): unknown {
    const byte = this.#bytes[this.#at++]!;
    if (byte < 0x80) return byte;
    if (byte >= 0xe0) return byte - 0x100;
    if (byte < 0x90) return this.#map(byte & 0x0f);
    if (byte < 0xa0) return this.#array(byte & 0x0f);
    if (byte < 0xc0) return this.#text(byte & 0x1f);
    switch (byte) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#binary(this.#u8());
      case 0xc5:
        return this.#binary(this.#u16());
      case 0xc6:
        return this.#binary(this.#u32());
      case 0xc7:
        return this.#extension(this.#u8());
      case 0xc8:
        return this.#extension(this.#u16());
      case 0xc9:
        return this.#extension(this.#u32());
      case 0xca:
        return this.#number(4).getFloat32(this.#at - 4);
      case 0xcb:
        return this.#number(8).getFloat64(this.#at - 8);
      case 0xcc:
        return this.#u8();
      case 0xcd:
        return this.#u16();
      case 0xce:
        return this.#u32();
      case 0xcf:
        return this.#wide(this.#u32(), false);
      case 0xd0:
        return (this.#u8() << 24) >> 24;
      case 0xd1:
        return (this.#u16() << 16) >> 16;
      case 0xd2:
        return this.#u32() | 0;
      case 0xd3:
        return this.#wide(this.#u32() | 0, true);
      case 0xd4:
        return this.#extension(1);
      case 0xd5:
        return this.#extension(2);
      case 0xd6:
        return this.#extension(4);
      case 0xd7:
        return this.#extension(8);
      case 0xd8:
        return this.#extension(16);
      case 0xd9:
        return this.#text(this.#u8());
      case 0xda:
        return this.#text(this.#u16());
      case 0xdb:
        return this.#text(this.#u32());
      case 0xdc:
        return this.#array(this.#u16());
      case 0xdd:
        return this.#array(this.#u32());
      case 0xde:
        return this.#map(this.#u16());
      default:
        return this.#map(this.#u32());
    }
  }

  #u8(): number {
    return this.#bytes[this.#at++]!;
  }

  #u16(): number {
    const at = this.#at;
    this.#at += 2;
    return (this.#bytes[at]! << 8) | this.#bytes[at + 1]!;
  }

  #u32(): number {
    const at = this.#at;
    this.#at += 4;
    const bytes = this.#bytes;
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
  }

  /** A 64-bit number whose high half was read: BigInt only where a number would not be exact. */
  #wide(high: number, signed: boolean): number | bigint {
    const value = high * TWO_32 + this.#u32();
    if (Number.isSafeInteger(value)) return value;
    const dataView = this.#number(0);
    return signed ? dataView.getBigInt64(this.#at - 8) : dataView.getBigUint64(this.#at - 8);
  }

  #number(size: number): DataView {
    this.#at += size;
    this.#view ??= new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    return this.#view;
  }

  #text(size: number): string {
    const bytes = this.#bytes;
    const start = this.#at;
    const end = start + size;
    this.#at = end;
    if (size <= SHORT_TEXT_BYTES) {
      let text = "";
      let at = start;
      for (; at < end && bytes[at]! < 0x80; at++) text += String.fromCharCode(bytes[at]!);
      if (at === end) return text;
    }
    const latest = size <= REPEATED_TEXT_BYTES ? this.#latest : undefined;
    const before = latest?.[size];
    if (before && same(bytes, before.at, start, size)) return before.text;
    this.#buffer ??= Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const text = this.#buffer.toString("utf8", start, end);
    if (latest) latest[size] = { at: start, text };
    return text;
  }

  #array(length: number): unknown[] {
    // A long one grows, as what it says of itself is not to be believed before the elements are there.
    const array: unknown[] = length <= SMALL_ARRAY ? new Array(length) : [];
    if (length > SMALL_ARRAY) this.#latest ??= [];
    for (let i = 0; i < length; i++) array[i] = this.read();
    return array;
  }

  #map(size: number): Record<string, unknown> {
    const map: Record<string, unknown> = {};
    for (let i = 0; i < size; i++) {
      const key = this.read() as string;
      map[key] = this.read();
    }
    return map;
  }

  #binary(size: number): Uint8Array {
    const start = this.#at;
    this.#at += size;
    return view(this.#bytes, start, this.#at);
  }

  #extension(size: number): unknown {
    const start = this.#at;
    const code = this.#u8();
    if (code === EXTENSION.OBJECT_REF) {
      const wire = this.#plainRef(start + 1 + size);
      if (wire) return this.#revive?.objectRef ? this.#revive.objectRef(wire) : wire;
      this.#at = start + 1;
    }
    const data = this.read();
    const fields = Array.isArray(data) ? (data as unknown[]) : [];
    this.#at = start + 1 + size;
    const value =
      code === EXTENSION.TENSOR
        ? this.#tensor(fields)
        : code === EXTENSION.OBJECT_REF
          ? this.#objectRef(fields)
          : code === EXTENSION.STORED
            ? this.#stored(fields)
            : this.#actorHandle(fields);
    if (value !== undefined) return value;
    throw new WhiprayError({
      code: "DECODE_EXT",
      message: `Refused msgpack at byte ${start}: the data of extension ${code} is not as PROTOCOL.md says`,
      details: { offset: start, extension: code, parts: this.#parts.length },
    });
  }

  /** A reference as everybody writes it; undefined for any other form, which is read as any other extension. Values hold very many. */
  #plainRef(end: number): ObjectRefWire | undefined {
    if (this.#u8() !== REF_FIELDS) return undefined;
    const id = this.#ownId() ?? this.#shortText();
    const owner = this.#shortText();
    const incarnation = this.#shortText();
    if (id === undefined || owner === undefined || incarnation === undefined) return undefined;
    let size: unknown;
    if (this.#bytes[this.#at] === NIL) this.#at++;
    else size = this.read();
    const located = this.#bytes[this.#at] !== NIL;
    if (!located) this.#at++;
    const location = located ? this.#shortText() : undefined;
    if (located && location === undefined) return undefined;
    if (
      this.#at !== end ||
      !(size === undefined || (typeof size === "number" && Number.isSafeInteger(size) && size >= 0))
    )
      return undefined;
    return new ObjectRefWire(id, owner, incarnation, size, location);
  }

  /** An id as this implementation makes them, if it is one: half the time of native code, and each is another. */
  #ownId(): string | undefined {
    const b = this.#bytes;
    const at = this.#at;
    if (b[at] !== ID_HEAD) return undefined;
    for (let i = 1; i <= ID_BYTES; i++) if (b[at + i]! >= 0x80) return undefined;
    this.#at = at + 1 + ID_BYTES;
    return String.fromCharCode(
      b[at + 1]!,
      b[at + 2]!,
      b[at + 3]!,
      b[at + 4]!,
      b[at + 5]!,
      b[at + 6]!,
      b[at + 7]!,
      b[at + 8]!,
      b[at + 9]!,
      b[at + 10]!,
      b[at + 11]!,
      b[at + 12]!,
      b[at + 13]!,
      b[at + 14]!,
      b[at + 15]!,
      b[at + 16]!,
      b[at + 17]!,
      b[at + 18]!,
      b[at + 19]!,
      b[at + 20]!,
    );
  }

  /** A text of up to 255 bytes, if it is one. */
  #shortText(): string | undefined {
    const byte = this.#u8();
    if (byte >= 0xa0 && byte < 0xc0) return this.#text(byte & 0x1f);
    return byte === 0xd9 ? this.#text(this.#u8()) : undefined;
  }

  #tensor([dtype, shape, place]: unknown[]): unknown {
    if (!isDtype(dtype) || !Array.isArray(shape)) return undefined;
    const found = place instanceof Uint8Array ? place : this.#part(place);
    if (place instanceof Uint8Array && place.length > INLINE_TENSOR_BYTES) return undefined;
    if (found === undefined || tensorBytes(dtype, shape) !== found.length) return undefined;
    const data = typedView(dtype, view(found, 0, found.length));
    const plain = shape.length === 1 && !(data instanceof Uint8Array && dtype !== "u1" && dtype !== "bytes");
    return plain ? data : new Tensor(dtype, shape as number[], data);
  }

  #part(index: unknown): Uint8Array | undefined {
    return typeof index === "number" && index >= 1 ? this.#parts[index] : undefined;
  }

  #objectRef([id, owner, incarnation, size, location]: unknown[]): unknown {
    if (typeof id !== "string" || typeof owner !== "string" || typeof incarnation !== "string") return undefined;
    if (size !== null && !(typeof size === "number" && Number.isSafeInteger(size) && size >= 0)) return undefined;
    if (location !== null && typeof location !== "string") return undefined;
    const wire = new ObjectRefWire(id, owner, incarnation, size ?? undefined, location ?? undefined);
    return this.#revive?.objectRef ? this.#revive.objectRef(wire) : wire;
  }

  #stored([id, owner, incarnation, bytes, location]: unknown[]): unknown {
    const texts = [id, owner, incarnation, location].every((text) => typeof text === "string");
    if (!texts || !(typeof bytes === "number" && Number.isSafeInteger(bytes) && bytes >= 0)) return undefined;
    return new StoredWire(id as string, owner as string, incarnation as string, bytes, location as string);
  }

  #actorHandle([actorId, owner, loan]: unknown[]): unknown {
    if (typeof actorId !== "string" || typeof owner !== "string") return undefined;
    if (loan !== null && typeof loan !== "string") return undefined;
    const wire = new ActorHandleWire(actorId, owner, loan ?? undefined);
    return this.#revive?.actorHandle ? this.#revive.actorHandle(wire) : wire;
  }
}

function same(bytes: Uint8Array, one: number, other: number, size: number): boolean {
  for (let i = 0; i < size; i++) if (bytes[one + i] !== bytes[other + i]) return false;
  return true;
}
