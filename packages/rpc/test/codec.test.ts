import { createContext, runInContext } from "node:vm";
import { WhiprayError } from "@whipray/core";
import fc from "fast-check";
import { Packr } from "msgpackr";
import { describe, expect, test } from "vitest";
import { decodeControl, decodeValues, encodeControl, encodeValues, MAX_BODY_BYTES, MAX_DEPTH } from "../src/index.ts";
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
        // Against its own reading: it writes -0 as the whole number 0.
        const packed = new Uint8Array(msgpackr.pack(value));
        expect(decodeControl(packed)).toEqual(msgpackr.unpack(packed));
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
    expect(JSON.stringify(roundTrip(array))).toBe(JSON.stringify(array));
    const map = Object.fromEntries(array.map((index) => [`k${index}`, index]));
    expect(JSON.stringify(decodeControl(encodeControl(map)))).toBe(JSON.stringify(map));
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
