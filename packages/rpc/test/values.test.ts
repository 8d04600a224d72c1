import { createContext, runInContext } from "node:vm";
import { describe, expect, test } from "vitest";
import {
  ActorHandleWire,
  decodeControl,
  decodeValues,
  encodeControl,
  encodeValues,
  INLINE_TENSOR_BYTES,
  MAX_PARTS,
  ObjectRefWire,
  Tensor,
  TO_WIRE,
} from "../src/index.ts";
import { codeOf } from "./frames.ts";

const roundTrip = (value: unknown): unknown => decodeValues(encodeValues(value));

describe("bytes", () => {
  test("in control bodies are msgpack bin of any size, decoded as views that are no Buffer", () => {
    for (const size of [0, 1, 255, 256, 70_000]) {
      const body = encodeControl({ bytes: Buffer.alloc(size, 7) });
      const { bytes } = decodeControl(body) as { bytes: Uint8Array };
      expect(bytes).toEqual(new Uint8Array(size).fill(7));
      expect(Buffer.isBuffer(bytes)).toBe(false);
      if (size > 0) expect(bytes.buffer).toBe(body.buffer);
    }
  });

  test.each<[string, ArrayBuffer | SharedArrayBuffer | ArrayBufferView]>([
    ["Uint8Array", Uint8Array.of(1, 2, 3)],
    ["Buffer", Buffer.from([1, 2, 3])],
    ["ArrayBuffer", Uint8Array.of(1, 2, 3).buffer],
    ["DataView", new DataView(Uint8Array.of(0, 1, 2, 3).buffer, 1)],
    [
      "SharedArrayBuffer",
      (() => {
        const shared = new SharedArrayBuffer(3);
        new Uint8Array(shared).set([1, 2, 3]);
        return shared;
      })(),
    ],
  ])("%s arrives as Uint8Array", (_name, value) => {
    const back = roundTrip([value]) as unknown[];
    expect(back).toEqual([Uint8Array.of(1, 2, 3)]);
  });

  test("released memory is refused, not sent as nothing", () => {
    const view = new Float32Array(4);
    structuredClone(view.buffer, { transfer: [view.buffer] });
    expect(codeOf(() => encodeValues([view]))).toBe("NOT_SERIALISABLE");
  });
});

describe("tensors", () => {
  test.each<[string, ArrayBufferView]>([
    ["i1", Int8Array.of(-1, 2)],
    ["i2", Int16Array.of(-1, 2)],
    ["u2", Uint16Array.of(1, 65_535)],
    ["i4", Int32Array.of(-1, 2)],
    ["u4", Uint32Array.of(1, 2 ** 32 - 1)],
    ["i8", BigInt64Array.of(-1n, 2n)],
    ["u8", BigUint64Array.of(1n, 2n ** 64n - 1n)],
    ["f2", Float16Array.of(1.5, -2)],
    ["f4", Float32Array.of(1.75, Number.NaN)],
    ["f8", Float64Array.of(1.75, -0)],
  ])("one-dimensional %s comes back as its typed array", (_dtype, value) => {
    expect(roundTrip(value)).toEqual(value);
    expect((roundTrip([value]) as unknown[])[0]!.constructor).toBe(value.constructor);
  });

  test("subclasses and arrays of another realm travel as what their memory is", () => {
    class Weights extends Float32Array {}
    expect(roundTrip(new Weights([1, 2]))).toEqual(Float32Array.of(1, 2));
    expect(roundTrip(runInContext("Int16Array.of(1, 2)", createContext()))).toEqual(Int16Array.of(1, 2));
  });

  test("other shapes and dtypes without an array in JavaScript come back as Tensor", () => {
    const matrix = new Tensor("f4", [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6));
    const back = roundTrip(matrix) as Tensor;
    expect(back).toBeInstanceOf(Tensor);
    expect([back.dtype, back.shape, back.data]).toEqual(["f4", [2, 3], matrix.data]);
    for (const [dtype, bytes] of [
      ["b1", 3],
      ["bf2", 6],
      ["c8", 24],
      ["c16", 48],
    ] as const) {
      const one = roundTrip(new Tensor(dtype, [3], new Uint8Array(bytes).fill(1))) as Tensor;
      expect([one.dtype, one.shape, one.data]).toEqual([dtype, [3], new Uint8Array(bytes).fill(1)]);
    }
    const point = roundTrip(new Tensor("f8", [], Float64Array.of(2.5))) as Tensor;
    expect([point.shape, point.data]).toEqual([[], Float64Array.of(2.5)]);
    const none = roundTrip(new Tensor("i4", [0, 5], new Int32Array(0))) as Tensor;
    expect([none.shape, none.data.length]).toEqual([[0, 5], 0]);
  });

  test("memory above the inline size travels as a part of its own, and is not copied on either side", () => {
    const large = new Float64Array(INLINE_TENSOR_BYTES / 8 + 1).fill(0.5);
    const small = new Float64Array(INLINE_TENSOR_BYTES / 8).fill(0.25);
    const blob = new Uint8Array(INLINE_TENSOR_BYTES + 1).fill(3);
    const parts = encodeValues([{ large, small }, blob, large]);
    expect(parts.length).toBe(4);
    expect(parts[1]!.buffer).toBe(large.buffer);
    const back = decodeValues(parts) as [{ large: Float64Array; small: Float64Array }, Uint8Array, Float64Array];
    expect(back).toEqual([{ large, small }, blob, large]);
    expect(back[0].large.buffer).toBe(large.buffer);
    expect(back[1].buffer).toBe(blob.buffer);
  });

  test("a part at an odd address is copied, so that the typed array is right", () => {
    const value = Float64Array.from({ length: 1_000 }, (_, index) => index / 3);
    const [first, part] = encodeValues(value);
    const moved = new Uint8Array(part!.length + 3);
    moved.set(part!, 3);
    const back = decodeValues([first!, moved.subarray(3)]) as Float64Array;
    expect(back).toEqual(value);
    expect(back.buffer).not.toBe(moved.buffer);
  });

  test("the limit of parts: one tensor more is PAYLOAD_TOO_LARGE, bytes lie in the value then", () => {
    const full: ArrayBufferView[] = Array.from(
      { length: MAX_PARTS - 1 },
      () => new Uint8Array(INLINE_TENSOR_BYTES + 1),
    );
    const parts = encodeValues(full);
    expect(parts.length).toBe(MAX_PARTS);
    expect(codeOf(() => decodeValues([...parts, new Uint8Array(1)]))).toBe("DECODE_LENGTH");
    expect(codeOf(() => decodeValues([]))).toBe("DECODE_LENGTH");
    expect(codeOf(() => encodeValues([...full, new Float32Array(INLINE_TENSOR_BYTES)]))).toBe("PAYLOAD_TOO_LARGE");
    const more = [...full, new Uint8Array(INLINE_TENSOR_BYTES + 1).fill(5), new Float32Array(2)];
    expect(encodeValues(more).length).toBe(MAX_PARTS);
    expect((roundTrip(more) as unknown[]).slice(-2)).toEqual(more.slice(-2));
  });

  test("control bodies carry no tensors: neither is one written nor read", () => {
    expect(codeOf(() => encodeControl({ small: new Float32Array(2) }))).toBe("NOT_SERIALISABLE");
    expect(codeOf(() => decodeControl(encodeValues(new Float32Array(2))[0] as Uint8Array))).toBe("DECODE_EXT");
  });

  test("one part may serve several tensors, or none", () => {
    const tensor = (): Uint8Array => encodeValues(new Uint8Array(5_000))[0]!;
    const pair = Buffer.concat([Buffer.from([0x92]), tensor(), tensor()]);
    const part = new Uint8Array(5_000).fill(9);
    expect(decodeValues([pair, part, new Uint8Array(1)])).toEqual([part, part]);
  });

  const tensorOf = (fields: unknown): Uint8Array => {
    const data = encodeControl(fields);
    return Uint8Array.of(0xc8, data.length >>> 8, data.length, 1, ...data);
  };
  test.each<[string, unknown]>([
    ["an unknown dtype", ["f16", [1], new Uint8Array(16)]],
    ["a dtype from the prototype", ["toString", [1], new Uint8Array(1)]],
    ["a length that does not fit the shape", ["f4", [2], new Uint8Array(9)]],
    ["a negative dimension", ["u1", [-1], new Uint8Array(1)]],
    ["a fraction as dimension", ["u2", [0.5], new Uint8Array(1)]],
    ["an overflowing shape", ["u1", [2 ** 52, 2 ** 52, 2 ** 52], new Uint8Array(0)]],
    ["too many dimensions", ["u1", Array.from({ length: 33 }, () => 1), new Uint8Array(1)]],
    ["more bytes inline than allowed", ["u1", [INLINE_TENSOR_BYTES + 1], new Uint8Array(INLINE_TENSOR_BYTES + 1)]],
    ["part 0", ["u1", [1], 0]],
    ["a part that is not there", ["u1", [1], 2]],
    ["a fraction as part", ["u1", [1], 1.5]],
    ["text as shape", ["u1", "1", new Uint8Array(1)]],
    ["no array", { dtype: "u1" }],
    ["too few fields", ["u1"]],
  ])("a tensor with %s is DECODE_EXT", (_name, fields) => {
    expect(codeOf(() => decodeValues([tensorOf(fields), new Uint8Array(1)]))).toBe("DECODE_EXT");
  });

  test("the constructor refuses what does not fit", () => {
    expect(codeOf(() => new Tensor("f4", [3], new Float32Array(2)))).toBe("INVALID_TENSOR");
    expect(codeOf(() => new Tensor("f4", [2], new Int32Array(2)))).toBe("INVALID_TENSOR");
    expect(codeOf(() => new Tensor("f3" as "f4", [2], new Float32Array(2)))).toBe("INVALID_TENSOR");
    expect(new Tensor("f4", [2], new Uint8Array(8)).bytes.length).toBe(8);
  });
});

describe("references", () => {
  const ref = new ObjectRefWire("obj_1", "node_a/worker_b", "inc_c", 1_024, "node_a/raylet");
  const handle = new ActorHandleWire("actor_1", "node_a/worker_b", "7");

  test("come back as they were, with and without what is optional", () => {
    const bare = [new ObjectRefWire("obj_1", "a/b", "inc_c"), new ActorHandleWire("actor_1", "a/b")];
    expect(roundTrip([ref, handle, ...bare])).toEqual([ref, handle, ...bare]);
    expect(codeOf(() => encodeControl({ ref }))).toBe("NOT_SERIALISABLE");
  });

  test("the receiver makes its own objects of them", () => {
    const revive = {
      objectRef: (wire: ObjectRefWire) => `ref ${wire.id}`,
      actorHandle: (wire: ActorHandleWire) => `actor ${wire.actorId}`,
    };
    expect(decodeValues(encodeValues([ref, { handle }]), revive)).toEqual(["ref obj_1", { handle: "actor actor_1" }]);
  });

  test("classes and proxies say by TO_WIRE what they travel as", () => {
    class Ref {
      [TO_WIRE](): ObjectRefWire {
        return ref;
      }
    }
    const proxy = new Proxy(() => {}, {
      has: (_target, key) => key === TO_WIRE,
      get: (_target, key) => (key === TO_WIRE ? () => handle : undefined),
    });
    expect(roundTrip({ a: new Ref(), b: proxy })).toEqual({ a: ref, b: handle });
    const liar = Object.assign(new (class Liar {})(), { [TO_WIRE]: () => ({}) });
    expect(codeOf(() => encodeValues(liar))).toBe("NOT_SERIALISABLE");
  });

  test.each<[number, unknown]>([
    [2, [1, "a", "b", null, null]],
    [2, ["obj_1", "a", "b", -1, null]],
    [2, ["obj_1", "a", "b", null, 5]],
    [2, ["obj_1"]],
    [2, "obj_1"],
    [3, ["actor_1", 7, null]],
    [3, ["actor_1", "a", [1]]],
    [3, []],
  ])("extension %d with %j is DECODE_EXT", (code, fields) => {
    const data = encodeControl(fields);
    const bytes = Uint8Array.of(0xc7, data.length, code, ...data);
    expect(codeOf(() => decodeValues([bytes]))).toBe("DECODE_EXT");
  });
});

describe("long arrays", () => {
  test("repeat texts: same, of the same length, and beyond ASCII", () => {
    const owners = [
      "node_a/worker_aaaaaaaa",
      "node_a/worker_aaaaaaab",
      "node_ä/worker_aaaaaaa",
      "x".repeat(64),
      "x".repeat(65),
    ];
    const value = Array.from({ length: 1_000 }, (_, i) => [`object_${i % 7}_of_many`, owners[i % owners.length]]);
    expect(roundTrip(value)).toEqual(value);
    const refs = Array.from(
      { length: 100 },
      (_, i) => new ObjectRefWire(`object_${i}`, owners[i % 3]!, "incarnation_a"),
    );
    expect(roundTrip(refs)).toEqual(refs);
  });
});
