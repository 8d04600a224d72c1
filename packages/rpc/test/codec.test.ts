import { createContext, runInContext } from "node:vm";
import { WhiprayError } from "@whipray/core";
import fc from "fast-check";
import { Packr } from "msgpackr";
import { describe, expect, test } from "vitest";
import {
  ActorHandleWire,
  decodeControl,
  decodeValues,
  encodeControl,
  encodeValues,
  INLINE_TENSOR_BYTES,
  MAX_BODY_BYTES,
  MAX_DEPTH,
  MAX_PARTS,
  ObjectRefWire,
  Tensor,
  TO_WIRE,
} from "../src/index.ts";
import { codeOf } from "./frames.ts";

// The reference that we are compared with; "auto" gives BigInt only where a number would not be exact.
const msgpackr = new Packr({
  useRecords: false,
  variableMapSize: true,
  encodeUndefinedAsNil: true,
  int64AsType: "auto" as never,
});
const roundTrip = (value: unknown): unknown => decodeValues(encodeValues(value));
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const scalar = fc.oneof(
  fc.integer(),
  fc.maxSafeInteger(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.string({ unit: "grapheme" }),
  fc.string({ minLength: 20, maxLength: 70 }),
);
const plain = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 5 },
    scalar,
    fc.array(tie("any")),
    fc.dictionary(
      fc.string().filter((key) => !["__proto__", "constructor", "prototype"].includes(key)),
      tie("any"),
      { noNullPrototype: true },
    ),
  ),
})).any;

describe("plain values", () => {
  test("come back as they were, by control bodies and by users' values", () => {
    fc.assert(
      fc.property(plain, (value) => {
        expect(decodeControl(encodeControl(value))).toEqual(value);
        expect(roundTrip(value)).toEqual(value);
      }),
    );
  });

  test("msgpackr reads what we write, and we read what msgpackr writes", () => {
    fc.assert(
      fc.property(plain, (value) => {
        expect(msgpackr.unpack(encodeControl(value))).toEqual(value);
        expect(decodeControl(new Uint8Array(msgpackr.pack(value)))).toEqual(value);
      }),
    );
  });

  test.each([
    [0, "00"],
    [127, "7f"],
    [128, "cc80"],
    [255, "ccff"],
    [256, "cd0100"],
    [65_535, "cdffff"],
    [65_536, "ce00010000"],
    [2 ** 32 - 1, "ceffffffff"],
    [2 ** 32, "cf0000000100000000"],
    [Number.MAX_SAFE_INTEGER, "cf001fffffffffffff"],
    [-1, "ff"],
    [-32, "e0"],
    [-33, "d0df"],
    [-128, "d080"],
    [-129, "d1ff7f"],
    [-32_768, "d18000"],
    [-32_769, "d2ffff7fff"],
    [-(2 ** 31), "d280000000"],
    [-(2 ** 31) - 1, "d3ffffffff7fffffff"],
    [Number.MIN_SAFE_INTEGER, "d3ffe0000000000001"],
    [2 ** 64, "cb43f0000000000000"],
    [1.5, "cb3ff8000000000000"],
    [-0, "cb8000000000000000"],
    [Number.NaN, "cb7ff8000000000000"],
    [Number.NEGATIVE_INFINITY, "cbfff0000000000000"],
  ])("the number %d has its smallest form and comes back", (value, bytes) => {
    expect(hexOf(encodeControl(value))).toBe(bytes);
    expect(Object.is(decodeControl(encodeControl(value)), value)).toBe(true);
  });

  test.each([2n ** 53n, 2n ** 64n - 1n, -(2n ** 63n), -(2n ** 53n), 2n ** 63n])("the BigInt %d comes back", (value) => {
    expect(roundTrip(value)).toBe(value);
  });

  test("a small BigInt becomes a number: the wire has one kind of integer", () => {
    expect(roundTrip([5n, -5n, BigInt(Number.MAX_SAFE_INTEGER)])).toEqual([5, -5, Number.MAX_SAFE_INTEGER]);
  });

  test.each([31, 32, 255, 256, 65_535, 65_536])("text of %d characters comes back, ASCII or not", (length) => {
    for (const letter of ["x", "é", "漢"]) {
      const text = letter.repeat(length);
      expect(roundTrip(text)).toBe(text);
    }
    expect(roundTrip(`${"🐟".repeat(length)}\u0000`)).toBe(`${"🐟".repeat(length)}\u0000`);
  });

  test.each([15, 16, 65_535, 65_536])("arrays and maps of %d entries come back", (size) => {
    const array = Array.from({ length: size }, (_, index) => index);
    expect(roundTrip(array)).toEqual(array);
    const map = Object.fromEntries(array.map((index) => [`k${index}`, index]));
    expect(decodeControl(encodeControl(map))).toEqual(map);
  });

  test("undefined and holes become nil; symbol keys and prototypes are not looked at", () => {
    // biome-ignore lint/suspicious/noSparseArray: a hole is what is tested
    expect(roundTrip([undefined, , { a: undefined, [Symbol("s")]: 1 }])).toEqual([null, null, { a: null }]);
    expect(roundTrip(Object.assign(Object.create(null), { a: 1 }))).toEqual({ a: 1 });
    expect(roundTrip(runInContext("({ a: [1] })", createContext()))).toEqual({ a: [1] });
  });

  test("a user's own key constructor is a field like any other", () => {
    const value = roundTrip({ constructor: 1, toString: 2 }) as Record<string, unknown>;
    expect(Object.entries(value)).toEqual([
      ["constructor", 1],
      ["toString", 2],
    ]);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
  });

  test("memory given out once is never written again", () => {
    const encoded = Array.from({ length: 3_000 }, (_, index) =>
      encodeControl({ index, text: "x".repeat(index % 300) }),
    );
    encodeControl("y".repeat(100_000));
    encoded.forEach((bytes, index) => {
      expect(decodeControl(bytes)).toEqual({ index, text: "x".repeat(index % 300) });
    });
  });

  test("a getter that encodes, or throws, disturbs nobody", () => {
    const inner = {
      get twice() {
        return hexOf(encodeControl([1, 2]));
      },
    };
    expect(roundTrip([inner, "after"])).toEqual([{ twice: "920102" }, "after"]);
    const bad = {
      a: {
        get b(): never {
          throw new TypeError("boom");
        },
      },
    };
    expect(() => encodeValues([bad], "args")).toThrow(/args\[0\]\.a\.b: reading it threw TypeError: boom/);
    expect(roundTrip([1])).toEqual([1]);
  });
});

describe("what cannot travel (B18)", () => {
  class Point {
    x = 1;
  }
  const cycle: Record<string, unknown> = { name: "c" };
  cycle["list"] = [1, cycle];
  const deep = (depth: number): unknown => (depth === 0 ? 1 : [deep(depth - 1)]);

  test.each<[string, unknown, string]>([
    ["a function", { x: { y: () => 1 } }, "args[0].x.y"],
    ["a symbol", [Symbol("s")], "args[0][0]"],
    ["a BigInt beyond 64 bit", { big: 2n ** 64n }, "args[0].big"],
    ["a BigInt below 64 bit", -(2n ** 63n) - 1n, "args[0]"],
    ["a Date", { at: new Date() }, "args[0].at"],
    ["a class instance", { "a b": new Point() }, 'args[0]["a b"]'],
    ["a Map", new Map(), "args[0]"],
    ["a Promise", Promise.resolve(), "args[0]"],
    ["an Error", new Error("x"), "args[0]"],
    ["a lone surrogate", ["ok", "a\ud800"], "args[0][1]"],
    ["a lone surrogate in a key", { "\udc00": 1 }, 'args[0]["\\udc00"]'],
    ["the key __proto__", JSON.parse('{"__proto__": 1}'), "args[0].__proto__"],
    ["a cycle", cycle, "args[0].list[1]"],
    ["too deep a value", deep(MAX_DEPTH), `args${"[0]".repeat(MAX_DEPTH)}`],
  ])("%s is NOT_SERIALISABLE with its path", (_name, value, path) => {
    let error: unknown;
    try {
      encodeValues([value], "args");
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(WhiprayError);
    expect(error).toMatchObject({ code: "NOT_SERIALISABLE", details: { path } });
    expect((error as Error).message.startsWith(path)).toBe(true);
  });

  test("the deepest value that is allowed passes both ways", () => {
    expect(roundTrip(deep(MAX_DEPTH))).toEqual(deep(MAX_DEPTH));
  });

  test("control bodies refuse the other forbidden keys too", () => {
    expect(codeOf(() => encodeControl({ constructor: 1 }))).toBe("NOT_SERIALISABLE");
    expect(codeOf(() => encodeControl({ a: { prototype: 1 } }))).toBe("NOT_SERIALISABLE");
  });

  test("a value above MAX_BODY_BYTES is PAYLOAD_TOO_LARGE, also one that is small in memory", () => {
    let shared: unknown = "x".repeat(1_000);
    for (let i = 0; i < 30; i++) shared = [shared, shared];
    expect(codeOf(() => encodeValues(shared))).toBe("PAYLOAD_TOO_LARGE");
    expect(codeOf(() => encodeControl("x".repeat(MAX_BODY_BYTES)))).toBe("PAYLOAD_TOO_LARGE");
    expect(roundTrip([1])).toEqual([1]);
  });
});

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

  test("control bodies carry small tensors only", () => {
    const small = new Float32Array(INLINE_TENSOR_BYTES / 4);
    expect(decodeControl(encodeControl({ small }))).toEqual({ small });
    expect(codeOf(() => encodeControl({ large: new Float32Array(INLINE_TENSOR_BYTES / 4 + 1) }))).toBe(
      "NOT_SERIALISABLE",
    );
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
  const handle = new ActorHandleWire("actor_1", "head/head", ["ping", "stop"]);

  test("come back as they were, with and without what is optional", () => {
    const bare = [new ObjectRefWire("obj_1", "a/b", "inc_c"), new ActorHandleWire("actor_1", "a/b")];
    expect(roundTrip([ref, handle, ...bare])).toEqual([ref, handle, ...bare]);
    expect(decodeControl(encodeControl({ ref }))).toEqual({ ref });
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

test("decoding random bytes gives a value or a WhiprayError, nothing else", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 60 }),
      fc.constantFrom(0x90, 0xc7, 0xd4, 0xd6, 0xd8, 0x82),
      (tail, first) => {
        for (const bytes of [tail, Uint8Array.of(first, ...tail), Uint8Array.of(0xc7, tail.length, 1, ...tail)]) {
          try {
            decodeValues([bytes, new Uint8Array(8)]);
          } catch (error) {
            expect(error).toBeInstanceOf(WhiprayError);
          }
        }
      },
    ),
    { numRuns: 3_000 },
  );
});
