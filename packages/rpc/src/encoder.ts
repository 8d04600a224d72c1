import { WhiprayError } from "@whipray/core";
import { EXTENSION } from "./extension.ts";
import { FORBIDDEN_KEYS } from "./key-table.ts";
import { INLINE_TENSOR_BYTES, MAX_BODY_BYTES, MAX_DEPTH, MAX_MESSAGE_BYTES, MAX_PARTS } from "./limits.ts";
import { ActorHandleWire, ObjectRefWire, StoredWire, TO_WIRE } from "./object-ref.ts";
import { dtypeOf, Tensor } from "./tensor.ts";

/** Small values are cut from slabs of this size; no byte of a slab is handed out twice. */
const SLAB_BYTES = 16_384;
/** A slab with less than this left is given up. */
const SLAB_REST_BYTES = 1_024;
/** Room for any head and number. */
const HEAD_BYTES = 9;
const TWO_32 = 4_294_967_296;

/**
 * Writes msgpack in its smallest form, in one pass that also finds what cannot travel and says where. One encode at a
 * time: a getter that encodes gets another Encoder from `codec.ts`.
 */
export class Encoder {
  #slab = Buffer.allocUnsafeSlow(0);
  #slabUsed = 0;
  #bytes = this.#slab;
  #view = new DataView(this.#slab.buffer);
  #start = 0;
  #at = 0;
  #depth = 0;
  readonly #path: (string | number)[] = [];
  /** Empty but for the objects that are being written; never made shorter, which would allocate it anew for each value. */
  readonly #open: (object | undefined)[] = [];
  #root = "";
  #parts: Uint8Array[] | undefined;
  #partBytes = 0;

  /**
   * @param root What the path of an error starts with.
   * @param parts Where tensors too large for the value itself go; undefined for control bodies, which have no parts.
   * @throws WhiprayError `NOT_SERIALISABLE` with the path; `PAYLOAD_TOO_LARGE`.
   */
  encode(value: unknown, root: string, parts: Uint8Array[] | undefined): Uint8Array {
    if (this.#slab.length - this.#slabUsed < SLAB_REST_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#slabUsed = 0;
    }
    this.#use(this.#slab, this.#slabUsed);
    this.#root = root;
    this.#parts = parts;
    this.#partBytes = 0;
    this.#depth = 0;
    try {
      this.#write(value);
      return new Uint8Array(this.#bytes.buffer, this.#start, this.#at - this.#start);
    } catch (error) {
      this.#open.length = 0;
      if (error instanceof WhiprayError) throw error;
      throw this.#refuse(`reading it threw ${String(error).slice(0, 200)}`, error);
    } finally {
      if (this.#bytes === this.#slab) this.#slabUsed = this.#at;
      // The memory of a large value belongs to whoever has the result now.
      else this.#use(this.#slab, this.#slabUsed);
      this.#parts = undefined;
    }
  }

  #use(bytes: Buffer<ArrayBuffer>, at: number): void {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer);
    }
    this.#start = at;
    this.#at = at;
  }

  #reserve(count: number): void {
    if (this.#at + count <= this.#bytes.length) return;
    const used = this.#at - this.#start;
    if (used + count > MAX_BODY_BYTES) throw tooLarge("bytes outside tensors", used + count, MAX_BODY_BYTES);
    const from = this.#bytes;
    const start = this.#start;
    this.#use(Buffer.allocUnsafeSlow(Math.min(2 * used + count + SLAB_BYTES, MAX_BODY_BYTES)), 0);
    from.copy(this.#bytes, 0, start, start + used);
    this.#at = used;
  }

  #write(value: unknown): void {
    this.#reserve(HEAD_BYTES);
    if (typeof value === "number") this.#number(value);
    else if (typeof value === "string") this.#text(value);
    else if (value === undefined || value === null) this.#bytes[this.#at++] = 0xc0;
    else if (typeof value === "boolean") this.#bytes[this.#at++] = value ? 0xc3 : 0xc2;
    else if (typeof value === "bigint") this.#bigint(value);
    else if (Array.isArray(value)) this.#array(value);
    else if (typeof value === "object" || (typeof value === "function" && TO_WIRE in value)) this.#object(value);
    else throw this.#refuse(`a ${typeof value} cannot be sent`);
  }

  #number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      this.#bytes[this.#at] = 0xcb;
      this.#view.setFloat64(this.#at + 1, value);
      this.#at += 9;
    } else if (value >= 0) this.#unsigned(value);
    else if (value >= -32) this.#bytes[this.#at++] = value & 0xff;
    else if (value >= -0x80) this.#head(0xd0, 1, value);
    else if (value >= -0x8000) this.#head(0xd1, 2, value);
    else if (value >= -0x8000_0000) this.#head(0xd2, 4, value);
    else this.#bigint(BigInt(value));
  }

  #unsigned(value: number): void {
    if (value < 0x80) this.#bytes[this.#at++] = value;
    else if (value < 0x100) this.#head(0xcc, 1, value);
    else if (value < 0x1_0000) this.#head(0xcd, 2, value);
    else if (value < TWO_32) this.#head(0xce, 4, value);
    else {
      this.#head(0xcf, 4, Math.floor(value / TWO_32));
      this.#view.setUint32(this.#at, value % TWO_32);
      this.#at += 4;
    }
  }

  #bigint(value: bigint): void {
    if (value >= -0x8000_0000n && value <= BigInt(Number.MAX_SAFE_INTEGER)) {
      this.#number(Number(value));
      return;
    }
    if (value !== (value < 0n ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value))) {
      throw this.#refuse("a BigInt beyond 64 bit cannot be sent");
    }
    this.#bytes[this.#at] = value < 0n ? 0xd3 : 0xcf;
    this.#view.setBigUint64(this.#at + 1, BigInt.asUintN(64, value));
    this.#at += 9;
  }

  /** A first byte and a number of `width` bytes. */
  #head(byte: number, width: number, value: number): void {
    this.#bytes[this.#at] = byte;
    if (width === 1) this.#bytes[this.#at + 1] = value;
    else if (width === 2) this.#view.setUint16(this.#at + 1, value);
    else this.#view.setUint32(this.#at + 1, value);
    this.#at += 1 + width;
  }

  #text(value: string): void {
    const length = value.length;
    this.#reserve(length + HEAD_BYTES);
    if (length < 0x20 && this.#ascii(value, length)) return;
    if (!value.isWellFormed()) throw this.#refuse("text with a lone surrogate cannot be sent");
    const size = Buffer.byteLength(value);
    this.#reserve(size + HEAD_BYTES);
    if (size < 0x20) this.#bytes[this.#at++] = 0xa0 | size;
    else if (size < 0x100) this.#head(0xd9, 1, size);
    else if (size < 0x1_0000) this.#head(0xda, 2, size);
    else this.#head(0xdb, 4, size);
    this.#bytes.write(value, this.#at, size, size === length ? "latin1" : "utf8");
    this.#at += size;
  }

  /** The common case, without a call into native code; writes nothing that counts when it gives up. */
  #ascii(value: string, length: number): boolean {
    const bytes = this.#bytes;
    let at = this.#at;
    bytes[at++] = 0xa0 | length;
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code >= 0x80) return false;
      bytes[at++] = code;
    }
    this.#at = at;
    return true;
  }

  #array(value: readonly unknown[]): void {
    this.#enter(value);
    this.#arrayHead(value.length);
    for (let i = 0; i < value.length; i++) {
      this.#path[this.#depth - 1] = i;
      this.#write(value[i]);
    }
    this.#leave();
  }

  #arrayHead(length: number): void {
    if (length < 0x10) this.#bytes[this.#at++] = 0x90 | length;
    else if (length < 0x1_0000) this.#head(0xdc, 2, length);
    else this.#head(0xdd, 4, length);
  }

  #object(value: object): void {
    if (isPlain(value)) this.#map(value as Record<string, unknown>);
    else if (ArrayBuffer.isView(value)) this.#memory(value);
    else if (value instanceof Tensor) this.#tensor(value.dtype, value.shape, value.bytes);
    else if (value instanceof ObjectRefWire) {
      const { id, ownerAddress, ownerIncarnation, sizeHint, locationHint } = value;
      this.#extension(EXTENSION.OBJECT_REF, [id, ownerAddress, ownerIncarnation, sizeHint, locationHint]);
    } else if (value instanceof ActorHandleWire) {
      this.#extension(EXTENSION.ACTOR_HANDLE, [value.actorId, value.ownerAddress, value.loan]);
    } else if (value instanceof StoredWire) {
      const { id, ownerAddress, ownerIncarnation, bytes, location } = value;
      this.#extension(EXTENSION.STORED, [id, ownerAddress, ownerIncarnation, bytes, location]);
    } else if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) {
      this.#memory(new DataView(value));
    } else this.#object(this.#convert(value));
  }

  #convert(value: object): object {
    const convert: unknown = (value as { [TO_WIRE]?: unknown })[TO_WIRE];
    const wire: unknown = typeof convert === "function" ? convert.call(value) : undefined;
    if (wire instanceof ObjectRefWire || wire instanceof ActorHandleWire || wire instanceof Tensor) return wire;
    const name = String((value as { constructor?: { name?: unknown } }).constructor?.name ?? typeof value);
    throw this.#refuse(`an instance of ${name.slice(0, 80)} cannot be sent; send its plain fields`);
  }

  #map(value: Record<string, unknown>): void {
    this.#enter(value);
    const keys = Object.keys(value);
    if (keys.length < 0x10) this.#bytes[this.#at++] = 0x80 | keys.length;
    else if (keys.length < 0x1_0000) this.#head(0xde, 2, keys.length);
    else this.#head(0xdf, 4, keys.length);
    for (const key of keys) {
      this.#path[this.#depth - 1] = key;
      if (key.length >= 9 && FORBIDDEN_KEYS.includes(key) && (this.#parts === undefined || key === "__proto__")) {
        throw this.#refuse(`the key ${key} cannot be sent`);
      }
      this.#text(key);
      this.#write(value[key]);
    }
    this.#leave();
  }

  #memory(value: ArrayBufferView): void {
    const dtype = dtypeOf(value);
    if (dtype === undefined) throw this.#refuse("a view of an unknown kind cannot be sent");
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    const itemBytes = (value as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1;
    // Plain bytes may also lie in the value, whatever their size.
    if (dtype === "bytes" && (bytes.length <= INLINE_TENSOR_BYTES || !this.#partIsFree())) this.#binary(bytes);
    else this.#tensor(dtype, [bytes.length / itemBytes], bytes);
  }

  #tensor(dtype: string, shape: readonly number[], bytes: Uint8Array): void {
    if (bytes.length <= INLINE_TENSOR_BYTES) {
      this.#extension(EXTENSION.TENSOR, [dtype, shape, bytes]);
      return;
    }
    if (!this.#partIsFree()) throw tooLarge("tensors", this.#parts!.length + 1, MAX_PARTS - 1);
    this.#partBytes += bytes.length;
    if (this.#partBytes > MAX_MESSAGE_BYTES - MAX_BODY_BYTES) {
      throw tooLarge("bytes", this.#partBytes, MAX_MESSAGE_BYTES - MAX_BODY_BYTES);
    }
    this.#extension(EXTENSION.TENSOR, [dtype, shape, this.#parts!.push(bytes)]);
  }

  /** Part 0 is the value itself. */
  #partIsFree(): boolean {
    return this.#parts !== undefined && this.#parts.length < MAX_PARTS - 1;
  }

  #binary(bytes: Uint8Array): void {
    this.#reserve(bytes.length + HEAD_BYTES);
    if (bytes.length < 0x100) this.#head(0xc4, 1, bytes.length);
    else if (bytes.length < 0x1_0000) this.#head(0xc5, 2, bytes.length);
    else this.#head(0xc6, 4, bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** The data is written first behind room for the largest head, then moved to where its own head ends. */
  #extension(code: number, fields: readonly unknown[]): void {
    if (this.#parts === undefined)
      throw this.#refuse("tensors, refs and handles are for users' values, not for control bodies");
    this.#reserve(HEAD_BYTES);
    const offset = this.#at - this.#start;
    this.#at += 6;
    this.#fields(fields);
    const head = this.#start + offset;
    const size = this.#at - head - 6;
    const fixed = [1, 2, 4, 8, 16].indexOf(size);
    this.#at = head;
    if (fixed >= 0) this.#bytes[this.#at++] = 0xd4 + fixed;
    else if (size < 0x100) this.#head(0xc7, 1, size);
    else if (size < 0x1_0000) this.#head(0xc8, 2, size);
    else this.#head(0xc9, 4, size);
    this.#bytes[this.#at++] = code;
    this.#bytes.copyWithin(this.#at, head + 6, head + 6 + size);
    this.#at += size;
  }

  #fields(fields: readonly unknown[]): void {
    this.#arrayHead(fields.length);
    for (const field of fields) {
      this.#reserve(HEAD_BYTES);
      if (field instanceof Uint8Array) this.#binary(field);
      else if (Array.isArray(field)) this.#fields(field);
      else this.#write(field);
    }
  }

  #enter(value: object): void {
    if (this.#depth < MAX_DEPTH) {
      this.#open[this.#depth++] = value;
      return;
    }
    // A cycle always comes here, so that nothing has to be looked up for values that have none.
    this.#open.push(value);
    const again = this.#open.findIndex((one, index) => this.#open.indexOf(one) < index);
    if (again < 0) throw this.#refuse(`it is nested more than ${MAX_DEPTH} deep`);
    this.#depth = again;
    throw this.#refuse("it contains itself");
  }

  #leave(): void {
    this.#open[--this.#depth] = undefined;
  }

  #refuse(why: string, cause?: unknown): WhiprayError {
    let path = this.#root;
    for (const step of this.#path.slice(0, this.#depth)) {
      if (typeof step === "number") path += `[${step}]`;
      else path += /^[A-Za-z_$][\w$]{0,79}$/.test(step) ? `.${step}` : `[${JSON.stringify(step.slice(0, 80))}]`;
    }
    return new WhiprayError({ code: "NOT_SERIALISABLE", message: `${path}: ${why}`, details: { path }, cause });
  }
}

/** Made by `{}` or `Object.create(null)`, also in another realm. */
function isPlain(value: object): boolean {
  const prototype: object | null = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return true;
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, "hasOwnProperty");
}

function tooLarge(what: string, value: number, limit: number): WhiprayError {
  return new WhiprayError({
    code: "PAYLOAD_TOO_LARGE",
    message: `A message may have at most ${limit} ${what}; this one has at least ${value}`,
    details: { what, value, limit },
  });
}
