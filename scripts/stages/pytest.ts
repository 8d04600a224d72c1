import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Outcome, type Stage, showEnd } from "./stage.ts";

const DEADLINE_MS = 10 * 60_000;
const FOLDERS = ["packages/engine/python/tests", "examples/01-digits-rl/tests"];

/** The Python tests, in the project's environment. */
export const pytest: Stage = {
  name: "python",
  async run(bench) {
    const folders = FOLDERS.filter((folder) => existsSync(join(bench.root, folder)));
    if (folders.length === 0) return { passed: 0, failed: 0, output: "", note: "skipped: no Python tests yet" };
    const outcomes: Outcome[] = [];
    // One run a folder: test modules and conftests of the same name do not meet.
    for (const [index, folder] of folders.entries()) {
      const report = join(bench.scratch, `pytest-${index}.xml`);
      const quiet = ["-q", "-p", "no:cacheprovider", `--basetemp=${join(bench.scratch, `pytest-${index}`)}`];
      const end = await bench.tool({
        file: join(bench.root, ".venv/bin/python"),
        args: ["-m", "pytest", ...quiet, `--junitxml=${report}`, folder],
        env: { PYTHONDONTWRITEBYTECODE: "1" },
        deadlineMs: DEADLINE_MS,
      });
      const text = existsSync(report) ? readFileSync(report, "utf8") : undefined;
      outcomes.push({ ...countPytest(text, end.code), output: showEnd(end) });
    }
    return sum(outcomes);
  },
};

/** Counts the suites of a JUnit report; no report and no test at all are failures. */
export function countPytest(report: string | undefined, code: number | undefined): Omit<Outcome, "output"> {
  const suites = [...(report ?? "").matchAll(/<testsuite\b[^>]*>/g)].map(([tag]) => tag);
  const total = (name: string): number =>
    suites.reduce((all, tag) => all + Number(new RegExp(`\\b${name}="(\\d+)"`).exec(tag)?.[1] ?? 0), 0);
  const [failures, skipped] = [total("failures") + total("errors"), total("skipped")];
  const passed = Math.max(0, total("tests") - failures - skipped);
  const failed = failures === 0 && code !== 0 ? 1 : failures;
  if (skipped === 0) return { passed, failed };
  const reasons = [...(report ?? "").matchAll(/<skipped\b[^>]*\bmessage="([^"]*)"/g)].map(([, message = ""]) =>
    plain(message),
  );
  return { passed, failed, note: [`${skipped} skipped`, ...new Set(reasons)].join("; ") };
}

/** An attribute's text. */
function plain(text: string): string {
  const named: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replaceAll(/&(lt|gt|quot|apos|amp);/g, (_, name: string) => named[name]!);
}

/** Adds up; only what failed is shown. */
export function sum(outcomes: Outcome[]): Outcome {
  const notes = outcomes.map((outcome) => outcome.note).filter((note) => note !== undefined);
  return {
    passed: outcomes.reduce((all, { passed }) => all + passed, 0),
    failed: outcomes.reduce((all, { failed }) => all + failed, 0),
    output: outcomes.flatMap(({ failed, output }) => (failed > 0 ? [output] : [])).join("\n"),
    ...(notes.length > 0 ? { note: notes.join(", ") } : {}),
  };
}
