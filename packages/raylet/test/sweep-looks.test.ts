import { describe, expect, test } from "vitest";
import { type LookOutcome, SweepLooks, UNCLEAR_LIMIT_MS, VANISHED_LOOKS_LIMIT } from "../src/sweep-looks.ts";

const CLEAR: LookOutcome = { found: [], unclear: false, vanished: false };
const FOUND: LookOutcome = { ...CLEAR, found: ["one"] };
const UNCLEAR: LookOutcome = { ...CLEAR, unclear: true };
const VANISHED: LookOutcome = { ...CLEAR, vanished: true };

/** How many looks of this kind are taken, one a millisecond, until the last. */
function looksAt(outcome: LookOutcome, looks = new SweepLooks()): number {
  for (let ms = 0; ms < 10_000; ms++) if (looks.over(outcome, ms)) return ms + 1;
  return Number.POSITIVE_INFINITY;
}

describe("F24 a sweep is over", () => {
  test("with the first look that finds nothing and leaves nothing open", () => {
    expect(looksAt(CLEAR)).toBe(1);
    expect(looksAt(FOUND)).toBe(Number.POSITIVE_INFINITY);
  });

  test("not while a process is in an exec, for UNCLEAR_LIMIT_MS at most", () => {
    expect(looksAt(UNCLEAR)).toBe(UNCLEAR_LIMIT_MS + 1);
    const looks = new SweepLooks();
    expect([looks.over(UNCLEAR, 0), looks.over(CLEAR, 1)]).toEqual([false, true]);
  });

  test("not when a process ended under the look, for what that one forked comes with the next; VANISHED_LOOKS_LIMIT times at most", () => {
    expect(looksAt(VANISHED)).toBe(VANISHED_LOOKS_LIMIT + 1);
    const looks = new SweepLooks();
    for (let at = 0; at < VANISHED_LOOKS_LIMIT; at++) expect(looks.over(VANISHED, at)).toBe(false);
    expect(looks.over(FOUND, 10)).toBe(false);
    expect(looksAt(VANISHED, looks)).toBe(VANISHED_LOOKS_LIMIT + 1);
  });
});
