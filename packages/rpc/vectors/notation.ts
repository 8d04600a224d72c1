import { ActorHandleWire, ObjectRefWire, Tensor, type TypedArray } from "../src/index.ts";
import { type Dtype, dtypeOf, typedView } from "../src/tensor.ts";

export const fromHex = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));
export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** A value in the notation of README.md. */
export function toNotation(value: unknown): unknown {
  if (typeof value === "bigint") return { $int: String(value) };
  if (typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0))) {
    return { $float: Number.isNaN(value) ? "nan" : value === 0 ? "-0" : value > 0 ? "inf" : "-inf" };
  }
  if (Array.isArray(value)) return value.map(toNotation);
  if (value instanceof Uint8Array) return { $bytes: toHex(value) };
  if (value instanceof ObjectRefWire) {
    return { $ref: [value.id, value.ownerAddress, value.ownerIncarnation, value.sizeHint ?? null, value.locationHint ?? null] };
  }
  if (value instanceof ActorHandleWire) return { $actor: [value.actorId, value.ownerAddress, value.loan ?? null] };
  if (value instanceof Tensor) return { $tensor: { dtype: value.dtype, shape: value.shape, hex: toHex(value.bytes) } };
  if (ArrayBuffer.isView(value)) {
    const array = value as TypedArray;
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    return { $tensor: { dtype: dtypeOf(array), shape: [array.length], hex: toHex(bytes) } };
  }
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, toNotation(one)]));
  }
  return value;
}

/** The value that the notation stands for, as `decodeValues` gives it. */
export function fromNotation(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(fromNotation);
  if (typeof json !== "object" || json === null) return json;
  const [key = ""] = Object.keys(json);
  const inner = (json as Record<string, never>)[key]!;
  if (key === "$int") return BigInt(inner);
  if (key === "$float") return inner === "-0" ? -0 : inner === "nan" ? Number.NaN : inner === "inf" ? Infinity : -Infinity;
  if (key === "$bytes") return fromHex(inner);
  if (key === "$tensor") {
    const { dtype, shape, hex } = inner as { dtype: Dtype; shape: number[]; hex: string };
    const data = typedView(dtype, fromHex(hex));
    const hasArray = dtype === "u1" || dtypeOf(data) !== "bytes";
    return shape.length === 1 && hasArray ? data : new Tensor(dtype, shape, data);
  }
  if (key === "$ref") {
    const [id, owner, incarnation, size, location] = inner as [string, string, string, number | null, string | null];
    return new ObjectRefWire(id, owner, incarnation, size ?? undefined, location ?? undefined);
  }
  if (key === "$actor") {
    const [id, owner, loan] = inner as [string, string, string | null];
    return new ActorHandleWire(id, owner, loan ?? undefined);
  }
  return Object.fromEntries(Object.entries(json).map(([name, one]) => [name, fromNotation(one)]));
}
