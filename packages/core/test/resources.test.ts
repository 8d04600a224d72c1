import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  addUnits,
  covers,
  isEmpty,
  LARGEST_AMOUNT,
  RESOURCE_KINDS_LIMIT,
  shortfall,
  showAmount,
  subtractUnits,
  toAmounts,
  toUnits,
} from "../src/index.ts";

/** 2^50 units: above it they would not be exact. */
const LARGEST_CPUS = 112_589_990_684;

describe("amounts in fixed point (ray.md section 4)", () => {
  test("0.3 + 0.3 + 0.4 is exactly 1 (B19)", () => {
    const parts = [0.3, 0.3, 0.4].map((GPU) => toUnits({ GPU }));
    const sum = parts.reduce(addUnits, {});
    expect(sum).toEqual(toUnits({ GPU: 1 }));
    expect(subtractUnits(toUnits({ GPU: 1 }), sum)).toEqual({});
  });

  test.each([
    [{ CPU: 1 }, { CPU: 10_000 }],
    [{ CPU: 0.0001 }, { CPU: 1 }],
    [{ CPU: 0.0003 }, { CPU: 3 }],
    [{ CPU: 1.23456 }, { CPU: 12_345 }],
    [{ memory: 2 ** 40 }, { memory: 2 ** 40 }],
    [{ CPU: 0, GPU: 2 }, { GPU: 20_000 }],
    [
      { CPU: 2.5, special: 1.5 },
      { CPU: 25_000, special: 15_000 },
    ],
  ])("%j is %j units", (amounts, units) => {
    expect(toUnits(amounts)).toEqual(units);
  });

  test("units become the amounts that they came from, whatever they are", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: LARGEST_CPUS * 10_000 }), (units) => {
        expect(toUnits(toAmounts({ CPU: units }))).toEqual({ CPU: units });
        const bytes = Math.min(units, LARGEST_AMOUNT);
        expect(toUnits(toAmounts({ memory: bytes }))).toEqual({ memory: bytes });
      }),
    );
  });
});

describe("what is refused (B19, B20)", () => {
  test.each<[string, unknown]>([
    ["NaN", { CPU: Number.NaN }],
    ["Infinity", { CPU: Number.POSITIVE_INFINITY }],
    ["a negative amount", { CPU: -1 }],
    ["less than the smallest", { CPU: 0.00001 }],
    ["half a byte", { memory: 0.5 }],
    ["more than the largest", { CPU: LARGEST_AMOUNT * 2 }],
    ["more units than are exact", { CPU: LARGEST_CPUS + 1 }],
    ["a text", { CPU: "1" }],
    ["a bigint", { CPU: 1n }],
    ["1.5 GPUs", { GPU: 1.5 }],
    ["2.5 NPUs", { NPU: 2.5 }],
    ["half a TPU", { TPU: 0.5 }],
    ["the reserved name", { bundle: 1 }],
    ["an empty name", { "": 1 }],
    ["a name with a blank", { "a b": 1 }],
    ["a name of every object", { constructor: 1 }],
    ["a long name", { ["x".repeat(129)]: 1 }],
    ["a list", [1]],
    ["nothing", null],
    ["too many kinds", Object.fromEntries(Array.from({ length: RESOURCE_KINDS_LIMIT + 1 }, (_, i) => [`r${i}`, 1]))],
  ])("%s is INVALID_RESOURCES", (_name, amounts) => {
    expect(() => toUnits(amounts)).toThrow(expect.objectContaining({ code: "INVALID_RESOURCES", retryable: false }));
  });

  test("the error names what, resource, value and rule", () => {
    expect(() => toUnits({ CPU: 1, GPU: 1.5 }, "bundle 3")).toThrow(
      expect.objectContaining({
        message: "bundle 3: GPU must be a whole number above 1: a fraction never spans two devices; got 1.5",
        details: { what: "bundle 3", resource: "GPU", value: "1.5" },
      }),
    );
  });
});

test("covers, shortfall and isEmpty agree", () => {
  const have = toUnits({ CPU: 2, GPU: 1 });
  expect([covers(have, toUnits({ CPU: 2 })), shortfall(have, toUnits({ CPU: 2 }))]).toEqual([true, {}]);
  const need = toUnits({ CPU: 3, special: 1 });
  expect([covers(have, need), shortfall(have, need)]).toEqual([false, { CPU: 10_000, special: 10_000 }]);
  expect(subtractUnits(have, need)).toEqual({ CPU: -10_000, GPU: 10_000, special: -10_000 });
  expect([isEmpty({}), isEmpty({ CPU: 0 }), isEmpty(have)]).toEqual([true, true, false]);
});

test("amounts as people read them", () => {
  expect([showAmount("GPU", 5_000), showAmount("memory", 3 * 2 ** 30), showAmount("memory", 5)]).toEqual([
    "0.5 GPU",
    "3.0 GiB memory",
    "5 B memory",
  ]);
});
