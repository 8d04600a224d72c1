import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { afterRun, beforeRun, RUN_VARIABLE } from "../stages/leftovers.ts";

let scratch = "";
const own = () => ({ temporary: `${scratch}/t`, runtime: `${scratch}/r` });
beforeEach(() => {
  scratch = mkdtempSync("/tmp/left-");
  for (const path of Object.values(own())) mkdirSync(path);
});
afterEach(() => rmSync(scratch, { recursive: true }));

test("a run that leaves nothing passes", async () => {
  expect(await afterRun(beforeRun(own(), false), "run-a", 0)).toEqual({ passed: 1, failed: 0, output: "" });
});

test("a process and a file that a run left are named and fail it, and the process is ended", async () => {
  const check = beforeRun(own(), false);
  const left = spawn("sleep", ["300"], { detached: true, stdio: "ignore", env: { [RUN_VARIABLE]: "run-b" } });
  const ended = new Promise((resolve) => left.once("exit", (_code, signal) => resolve(signal)));
  writeFileSync(`${scratch}/t/forgotten`, "");
  const outcome = await afterRun(check, "run-b", 0);
  expect(outcome).toMatchObject({ passed: 0, failed: 2 });
  expect(outcome.output).toContain(`process ${left.pid} (environ ${RUN_VARIABLE}=run-b;`);
  expect(outcome.output).toContain(`file ${scratch}/t/forgotten`);
  expect(await ended).toBe("SIGKILL");
});

test("another run's process is neither blamed nor ended; device locks and ports of the host may stay", async () => {
  const check = beforeRun(own(), false);
  const other = spawn("sleep", ["300"], { stdio: "ignore", env: { [RUN_VARIABLE]: "run-c" } });
  mkdirSync(`${scratch}/r/whipray/host/locks`, { recursive: true });
  try {
    expect(await afterRun(check, "run-d", 0)).toMatchObject({ passed: 1, failed: 0 });
    expect(other.exitCode ?? other.signalCode).toBeNull();
  } finally {
    other.kill("SIGKILL");
  }
});
