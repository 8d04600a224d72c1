import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { medianOf, quantile, ratiosOf, spreadOf, verdictOf } from "../src/statistics.ts";
import { KEPT_STEPS, keepSteps, rateOf } from "../src/vs-ray/measured.ts";

const positive = fc.double({ min: 0.001, max: 1e6, noNaN: true });

describe("what rounds say", () => {
  it("median and quantiles", () => {
    expect(medianOf([3, 1, 2])).toBe(2);
    expect(medianOf([4, 1, 2, 3])).toBe(2.5);
    expect(medianOf([])).toBeNaN();
    expect(quantile([1, 2, 3, 4], 0.5)).toBe(2);
    expect(quantile([5], 0.999)).toBe(5);
  });

  it("the interval holds the median, lies within the rounds, and is the same each time", () => {
    fc.assert(
      fc.property(fc.array(positive, { minLength: 1, maxLength: 12 }), (rounds) => {
        const spread = spreadOf(rounds);
        expect(spread.low).toBeLessThanOrEqual(spread.median);
        expect(spread.high).toBeGreaterThanOrEqual(spread.median);
        expect(spread.low).toBeGreaterThanOrEqual(Math.min(...rounds));
        expect(spread.high).toBeLessThanOrEqual(Math.max(...rounds));
        expect(spreadOf(rounds)).toEqual(spread);
      }),
      { numRuns: 50 },
    );
  });

  it("faster only if the interval excludes 1", () => {
    expect(verdictOf({ median: 1.5, low: 1.01, high: 2 })).toBe("faster");
    expect(verdictOf({ median: 1.5, low: 0.99, high: 2 })).toBe("no difference");
    expect(verdictOf({ median: 0.5, low: 0.4, high: 0.99 })).toBe("slower");
  });

  it("a ratio above 1 is better, also where less is better", () => {
    expect(ratiosOf([10, 20], [5, 5], "more")).toEqual([2, 4]);
    expect(ratiosOf([10, 20], [5, 40], "less")).toEqual([0.5, 2]);
    expect(ratiosOf([1], [0], "more")).toEqual([]);
  });

  it("a rate is steps times units over the seconds they took", () => {
    expect(rateOf([0.5, 0.5], 1_000)).toBe(2_000);
  });

  it("keeps at most KEPT_STEPS steps of a row, of every round", () => {
    const kept: number[] = [];
    for (let round = 0; round < 5; round++) keepSteps(kept, new Array(100_000).fill(round / 1_000), 5);
    expect(kept.length).toBeLessThanOrEqual(KEPT_STEPS);
    expect(new Set(kept)).toEqual(new Set([0, 1, 2, 3, 4]));
  });
});
