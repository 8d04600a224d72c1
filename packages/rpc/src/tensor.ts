import { WhiprayError } from "@whipray/core";

/** Bytes of one element; little-endian, C order. `c8` and `c16` are complex numbers of two floats. */
export const DTYPE_BYTES = {
  b1: 1,
  i1: 1,
  u1: 1,
  i2: 2,
  u2: 2,
  i4: 4,
  u4: 4,
  i8: 8,
  u8: 8,
  f2: 2,
  bf2: 2,
  f4: 4,
  f8: 8,
  c8: 8,
  c16: 16,
  bytes: 1,
} as const;
export type Dtype = keyof typeof DTYPE_BYTES;

/** Dimensions that a tensor may have (the limit of numpy 1; the Python side has the same). */
export const MAX_TENSOR_DIMENSIONS = 32;

const ARRAYS = {
  i1: Int8Array,
  u1: Uint8Array,
  i2: Int16Array,
  u2: Uint16Array,
  i4: Int32Array,
  u4: Uint32Array,
  i8: BigInt64Array,
  u8: BigUint64Array,
  f2: Float16Array,
  f4: Float32Array,
  f8: Float64Array,
  bytes: Uint8Array,
} as const;
type ArrayName = keyof typeof ARRAYS;

export type TypedArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | Float16Array
  | Float32Array
  | Float64Array;

const NAMES = new Map<string, Dtype>([
  ...Object.entries(ARRAYS).map(([dtype, array]): [string, Dtype] => [array.name, dtype as Dtype]),
  ["Uint8Array", "bytes"],
  ["Uint8ClampedArray", "u1"],
  ["DataView", "bytes"],
]);

/** The dtype that a view of memory travels as: `bytes` for Uint8Array, Buffer and DataView. */
export function dtypeOf(data: ArrayBufferView): Dtype | undefined {
  // The tag is that of the memory, also for subclasses (Buffer) and for arrays of another realm.
  return NAMES.get((data as unknown as { [Symbol.toStringTag]: string })[Symbol.toStringTag]);
}

export function isDtype(name: unknown): name is Dtype {
  return typeof name === "string" && Object.hasOwn(DTYPE_BYTES, name);
}

/** Bytes that a tensor of this shape has; NaN when the shape is none (a dimension that is no whole number ≥ 0, or too many). */
export function tensorBytes(dtype: Dtype, shape: readonly unknown[]): number {
  if (shape.length > MAX_TENSOR_DIMENSIONS) return Number.NaN;
  let product: number = DTYPE_BYTES[dtype];
  for (const dimension of shape) {
    if (typeof dimension !== "number" || !Number.isSafeInteger(dimension) || dimension < 0) return Number.NaN;
    product *= dimension;
  }
  return product;
}

/**
 * The memory as the typed array of `dtype`; as Uint8Array where JavaScript has none (`b1`, `bf2`, `c8`, `c16`). A view of
 * the same memory when it is aligned, else a copy.
 */
export function typedView(dtype: Dtype, bytes: Uint8Array): TypedArray {
  const array = Object.hasOwn(ARRAYS, dtype) ? ARRAYS[dtype as ArrayName] : Uint8Array;
  const size = array.BYTES_PER_ELEMENT;
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  return new array(aligned.buffer as ArrayBuffer, aligned.byteOffset, bytes.byteLength / size);
}

/** Numbers of one type in any shape: what numpy and torch call an array or a tensor. Holds its memory, never copies it. */
export class Tensor {
  readonly dtype: Dtype;
  /** Empty for a scalar. */
  readonly shape: readonly number[];
  /** The typed array of the dtype where JavaScript has one, or the raw bytes (little-endian, C order). */
  readonly data: TypedArray;

  /** @throws WhiprayError `INVALID_TENSOR` when dtype, shape and data do not fit each other. */
  constructor(dtype: Dtype, shape: readonly number[], data: TypedArray) {
    const wrong = !isDtype(dtype)
      ? `dtype ${String(dtype).slice(0, 40)} is not one of ${Object.keys(DTYPE_BYTES).join(", ")}`
      : tensorBytes(dtype, shape) !== data.byteLength
        ? `a tensor ${dtype} of shape [${shape.slice(0, MAX_TENSOR_DIMENSIONS).join(", ")}] does not have ${data.byteLength} bytes`
        : !fits(dtype, data)
          ? `data of a tensor ${dtype} cannot be a ${data.constructor.name}`
          : undefined;
    if (wrong !== undefined) {
      throw new WhiprayError({
        code: "INVALID_TENSOR",
        message: `Invalid tensor: ${wrong}`,
        details: { dtype, shape },
      });
    }
    this.dtype = dtype;
    this.shape = shape;
    this.data = data;
  }

  /** The memory as raw bytes; a view, not a copy. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.data.buffer, this.data.byteOffset, this.data.byteLength);
  }
}

function fits(dtype: Dtype, data: TypedArray): boolean {
  return data instanceof Uint8Array || dtypeOf(data) === dtype;
}
