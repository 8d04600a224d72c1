import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Outcome, type Stage, showEnd } from "./stage.ts";

const DEADLINE_MS = 20 * 60_000;

/** Unit, property and process tests, counted from vitest's JSON report. */
export const vitest: Stage = {
  name: "unit",
  async run(bench) {
    const report = join(bench.scratch, "vitest.json");
    const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
    const end = await bench.tool({ file: "vitest", args: ["run", ...reporters], deadlineMs: DEADLINE_MS });
    const text = existsSync(report) ? readFileSync(report, "utf8") : undefined;
    return { ...countVitest(text, end.code), output: showEnd(end) };
  },
};

/** The part of vitest's JSON report that is counted. */
interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  testResults: { status: string; assertionResults: { status: string; meta?: { skippedBecause?: string } }[] }[];
}

/** Counts tests; a file that could not be loaded and an error outside any test are failures too. Says what was not tested, and why. */
export function countVitest(report: string | undefined, code: number | undefined): Omit<Outcome, "output"> {
  if (report === undefined) return { passed: 0, failed: 1, note: "no report" };
  const { numPassedTests, numFailedTests, numPendingTests, testResults } = JSON.parse(report) as VitestReport;
  const broken = testResults.filter(
    ({ status, assertionResults }) => status === "failed" && assertionResults.every((test) => test.status !== "failed"),
  ).length;
  const counted = numFailedTests + broken;
  const failed = counted === 0 && code !== 0 ? 1 : counted;
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults);
  // A test says so of itself: what this machine does not allow must not pass in silence.
  const reasons = [...new Set(tests.map(({ meta }) => meta?.skippedBecause).filter((why) => why !== undefined))];
  const skipped = numPendingTests > 0 ? [`${numPendingTests} skipped`] : [];
  const note = skipped.length + reasons.length > 0 ? { note: [...skipped, ...reasons].join("; ") } : {};
  return { passed: numPassedTests, failed, ...note };
}
