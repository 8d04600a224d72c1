import { describe, expect, test } from "vitest";
import {
  bool,
  bytes,
  count,
  decodeControl,
  encodeControl,
  FIELD_TEXT_LIMIT,
  id,
  integer,
  list,
  oneOf,
  optional,
  real,
  record,
  shape,
  str,
} from "../src/index.ts";
import { codeOf } from "./frames.ts";

/** As a peer would say it: through the codec and back. */
const said = (value: unknown): unknown => decodeControl(encodeControl({ value }));
const counted = shape({ value: count() });

describe("counts (B11)", () => {
  test.each<[string, unknown]>([
    ["NaN", Number.NaN],
    ["Infinity", Number.POSITIVE_INFINITY],
    ["−Infinity", Number.NEGATIVE_INFINITY],
    ["−0", -0],
    ["−1", -1],
    ["1.5", 1.5],
    ["2^53", 2 ** 53],
    ["2^53 + 1", 2n ** 53n + 1n],
    ["2^64 − 1", 2n ** 64n - 1n],
    ["−2^63", -(2n ** 63n)],
    ["the text of a number", "1"],
    ["nothing", null],
  ])("%s is RANGE, also behind the codec", (_name, value) => {
    expect(codeOf(() => count()(value, "n"))).toBe("RANGE");
    expect(codeOf(() => counted(said(value), "message"))).toBe("RANGE");
    expect(codeOf(() => integer(-10, 10)(value === -1 ? -11 : value, "n"))).toBe("RANGE");
  });

  test("0 and 2^53 − 1 pass, one above a limit does not; the error names field and value", () => {
    expect(counted(said(0), "message")).toEqual({ value: 0 });
    expect(counted(said(Number.MAX_SAFE_INTEGER), "message")).toEqual({ value: Number.MAX_SAFE_INTEGER });
    expect(integer(-10, 10)(-10, "n")).toBe(-10);
    expect(() => shape({ port: count(65_535) })({ port: 65_536 }, "open")).toThrow(
      expect.objectContaining({
        code: "RANGE",
        message: "open.port must be a whole number from 0 to 65535; got 65536",
        details: { field: "open.port", value: "65536" },
      }),
    );
  });

  test("a real is any finite number", () => {
    expect([-0.5, -0, 2 ** 60].map((value) => real(value, "n"))).toEqual([-0.5, -0, 2 ** 60]);
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 1n, "1"]) {
      expect(codeOf(() => real(bad, "n"))).toBe("RANGE");
    }
  });
});

describe("ids (B11)", () => {
  test.each([Number.NaN, -0, 2 ** 53, 2n ** 64n - 1n, null, "", "pg_", "pg_A", "actor_1", "pg_1\n", "pg_../x"])(
    "%s is no id of a group",
    (value) => {
      expect(codeOf(() => id("pg")(value, "pgId"))).toBe("INVALID_MESSAGE");
    },
  );

  test("its own kind passes", () => {
    expect(id("pg")("pg_1a", "pgId")).toBe("pg_1a");
  });
});

describe("other fields", () => {
  test("what has the wrong type is INVALID_MESSAGE, what is too long RANGE", () => {
    expect(codeOf(() => str()(5, "s"))).toBe("INVALID_MESSAGE");
    expect(codeOf(() => str()("x".repeat(FIELD_TEXT_LIMIT + 1), "s"))).toBe("RANGE");
    expect(codeOf(() => bool(1, "b"))).toBe("INVALID_MESSAGE");
    expect(codeOf(() => bytes(2)("ab", "b"))).toBe("INVALID_MESSAGE");
    expect(codeOf(() => bytes(2)(new Uint8Array(3), "b"))).toBe("RANGE");
    expect(codeOf(() => oneOf("a", "b")("c", "o"))).toBe("INVALID_MESSAGE");
    expect(codeOf(() => list(bool, 1)([true, true], "l"))).toBe("RANGE");
    expect(codeOf(() => list(bool)({}, "l"))).toBe("INVALID_MESSAGE");
    expect(codeOf(() => record(bool, 1)({ a: true, b: true }, "r"))).toBe("RANGE");
    expect(codeOf(() => record(bool)([], "r"))).toBe("INVALID_MESSAGE");
    expect(codeOf(() => shape({})(new Uint8Array(0), "m"))).toBe("INVALID_MESSAGE");
  });

  test("keys of a shape that nobody knows are dropped; absent and nil are the same where a field may be absent", () => {
    const field = shape({ a: optional(bool), b: count() });
    expect(field({ a: null, b: 1, newer: { deep: [1] } }, "m")).toEqual({ b: 1 });
    expect(codeOf(() => field({ a: true }, "m"))).toBe("RANGE");
    expect(codeOf(() => shape({ toString: count() })({}, "m"))).toBe("RANGE");
  });
});
