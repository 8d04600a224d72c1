import { seededRandom } from "@whipray/core";

/** What rounds say: the middle, and where the middle of more such rounds would lie 95 times of 100. */
export interface Spread {
  median: number;
  low: number;
  high: number;
}

const RESAMPLES = 2_000;
/** Same rounds, same interval: a report can be made again from its JSON. */
const SEED = 0x5eed;

export function medianOf(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** `part` of 0 … 1, by the nearest rank. */
export function quantile(values: readonly number[], part: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(part * sorted.length) - 1))]!;
}

/** Median and bootstrap 95 % interval of it. */
export function spreadOf(values: readonly number[]): Spread {
  const random = seededRandom(SEED);
  const medians: number[] = [];
  for (let i = 0; i < RESAMPLES && values.length > 0; i++) {
    medians.push(medianOf(values.map(() => values[random.below(values.length)]!)));
  }
  return { median: medianOf(values), low: quantile(medians, 0.025), high: quantile(medians, 0.975) };
}

export type Verdict = "faster" | "slower" | "no difference";

/** How much better ours is than theirs, round by round; more than 1 is better, whichever way the unit counts. */
export function ratiosOf(ours: readonly number[], theirs: readonly number[], better: "more" | "less"): number[] {
  const rounds = Math.min(ours.length, theirs.length);
  return Array.from({ length: rounds }, (_, i) =>
    better === "more" ? ours[i]! / theirs[i]! : theirs[i]! / ours[i]!,
  ).filter(Number.isFinite);
}

/** "Faster" only if the interval excludes 1. */
export function verdictOf(ratio: Spread): Verdict {
  if (ratio.low > 1) return "faster";
  return ratio.high < 1 ? "slower" : "no difference";
}
