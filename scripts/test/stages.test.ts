import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { DEMO_SECONDS, judgeDemo } from "../stages/demo.ts";
import { findExamples } from "../stages/examples.ts";
import { countPytest } from "../stages/pytest.ts";
import { runTool } from "../stages/tool.io.ts";
import { countVitest } from "../stages/vitest.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

test("vitest's report: tests, files that do not load and errors outside tests all count", () => {
  const file = (status: string, ...tests: string[]): object => ({
    status,
    assertionResults: tests.map((one) => ({ status: one })),
  });
  const report = (passed: number, failed: number, files: object[], pending = 0): string =>
    JSON.stringify({ numPassedTests: passed, numFailedTests: failed, numPendingTests: pending, testResults: files });
  expect(countVitest(report(2, 0, [file("passed", "passed", "passed")]), 0)).toEqual({ passed: 2, failed: 0 });
  expect(countVitest(report(1, 1, [file("failed", "passed", "failed")]), 1)).toEqual({ passed: 1, failed: 1 });
  expect(countVitest(report(0, 0, [file("failed")]), 1)).toEqual({ passed: 0, failed: 1 });
  expect(countVitest(report(2, 0, [file("passed", "passed")]), 1)).toEqual({ passed: 2, failed: 1 });
  expect(countVitest(report(1, 0, [file("passed")], 3), 0)).toEqual({ passed: 1, failed: 0, note: "3 skipped" });
  expect(countVitest(undefined, 1)).toMatchObject({ failed: 1 });
});

test("vitest's report: why this machine could not run a test is said once", () => {
  const skipped = { status: "skipped", meta: { skippedBecause: "no namespaces here" } };
  const file = { status: "passed", assertionResults: [{ status: "passed", meta: {} }, skipped, skipped] };
  const report = { numPassedTests: 1, numFailedTests: 0, numPendingTests: 2, testResults: [file] };
  expect(countVitest(JSON.stringify(report), 0)).toMatchObject({ note: "2 skipped; no namespaces here" });
});

test("pytest's report: errors are failures, no report and no tests too", () => {
  const suite = '<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10" time="0.1">';
  expect(countPytest(suite, 1)).toEqual({ passed: 4, failed: 3, note: "3 skipped" });
  expect(countPytest(undefined, 1)).toEqual({ passed: 0, failed: 1 });
  expect(countPytest('<testsuite errors="0" failures="0" skipped="0" tests="0">', 5)).toEqual({ passed: 0, failed: 1 });
});

test("pytest's report: why tests were skipped is said once", () => {
  const skip =
    '<testcase name="t"><skipped type="pytest.skip" message="no Python 3.9 &amp; no pyenv">…</skipped></testcase>';
  const suite = `<testsuite errors="0" failures="0" skipped="2" tests="3">${skip}${skip}</testsuite>`;
  expect(countPytest(suite, 0)).toEqual({ passed: 1, failed: 0, note: "2 skipped; no Python 3.9 & no pyenv" });
});

test("the demo: one that takes longer than promised, or does not say how long it took, has failed", () => {
  const said = (seconds: number): string => `step 1\n{"accuracyAfter":0.9,"seconds":${seconds},"leftovers":0}\n`;
  const end = (output: string, code = 0) => judgeDemo({ code, output, overdue: false });
  expect(end(said(31.4))).toMatchObject({ passed: 1, failed: 0, note: "31 s of 90" });
  expect(end(said(DEMO_SECONDS + 0.1))).toMatchObject({ passed: 0, failed: 1 });
  expect(end(said(DEMO_SECONDS + 0.1)).output).toContain("it took 90.1 s; promised are 90 s on 2 cores");
  expect(end(said(1), 1)).toMatchObject({ passed: 0, failed: 1 });
  expect(end("no figures\n")).toMatchObject({ passed: 0, failed: 1 });
});

test("examples with a ci script are found in order, with their deadlines", () => {
  const root = mkdtempSync(join(tmpdir(), "examples-"));
  folders.push(root);
  const plant = (name: string, manifest: object): void => {
    mkdirSync(join(root, name));
    writeFileSync(join(root, name, "package.json"), JSON.stringify(manifest));
  };
  plant("02-b", { scripts: { ci: "node b.ts" }, ciDeadlineSeconds: 5 });
  plant("01-a", { scripts: { ci: "node a.ts" } });
  plant("03-c", { scripts: { start: "node c.ts" } });
  expect(findExamples(root)).toEqual([
    { name: "01-a", command: "node a.ts", deadlineMs: 120_000 },
    { name: "02-b", command: "node b.ts", deadlineMs: 5_000 },
  ]);
  expect(findExamples(join(root, "nowhere"))).toEqual([]);
});

test("a tool's output and exit code come back; past its deadline it ends with all that it started", async () => {
  const run = (script: string, deadlineMs: number) =>
    runTool({ file: "sh", args: ["-c", script], cwd: "/", env: process.env, deadlineMs });
  expect(await run("echo out; echo err >&2; exit 3", 60_000)).toEqual({
    code: 3,
    output: "out\nerr\n",
    overdue: false,
  });
  const end = await run("sleep 300 & echo $!; wait", 500);
  expect(end.overdue).toBe(true);
  await expect.poll(() => isRunning(Number(end.output)), { timeout: 10_000 }).toBe(false);
});

test("a tool that does not exist is a failure with its name", async () => {
  const end = await runTool({ file: "no-such-tool", args: [], cwd: "/", env: {}, deadlineMs: 1_000 });
  expect(end).toMatchObject({ code: undefined });
  expect(end.output).toContain("no-such-tool");
});

/** A killed orphan is gone or waits as a zombie for init. */
function isRunning(pid: number): boolean {
  const path = `/proc/${pid}/stat`;
  return existsSync(path) && !readFileSync(path, "utf8").includes(") Z ");
}
