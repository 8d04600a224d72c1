import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { withLock } from "../bootstrap/lock.mjs";

const MODULE = new URL("../bootstrap/lock.mjs", import.meta.url).href;
let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lock-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A program that appends "in" and "out" to a file around a moment in the lock. */
const holder = (waitMs: number): string => `
  import { appendFileSync } from "node:fs";
  import { withLock } from ${JSON.stringify(MODULE)};
  const file = process.argv[1];
  await withLock(file + ".lock", 60_000, async () => {
    appendFileSync(file, "in ");
    await new Promise((resolve) => setTimeout(resolve, ${waitMs}));
    appendFileSync(file, "out ");
  });`;
const args = (waitMs: number, file: string): string[] => ["--input-type=module", "--eval", holder(waitMs), file];

test("several starts at once work one after the other, and the lock is gone after the last", async () => {
  const file = join(folder, "log");
  await Promise.all([1, 2, 3, 4].map(() => promisify(execFile)(process.execPath, args(50, file))));
  expect(readFileSync(file, "utf8")).toBe("in out ".repeat(4));
  expect(existsSync(`${file}.lock`)).toBe(false);
});

test("the lock of a start that was killed is broken by the next one", async () => {
  const file = join(folder, "log");
  const first = spawn(process.execPath, args(60_000, file), { stdio: "ignore" });
  await expect.poll(() => existsSync(file), { timeout: 20_000 }).toBe(true);
  const ended = new Promise((resolve) => first.once("exit", resolve));
  first.kill("SIGKILL");
  await ended;
  await promisify(execFile)(process.execPath, args(0, file));
  expect(readFileSync(file, "utf8")).toBe("in in out ");
});

test("a lock whose pid belongs to another process by now is broken", async () => {
  const path = join(folder, "lock");
  writeFileSync(path, JSON.stringify({ pid: process.pid, startedAt: "1" }));
  expect(await withLock(path, 5_000, async () => "mine")).toBe("mine");
});

test("a lock that stays held is a complaint with its holder's pid after the wait", async () => {
  const path = join(folder, "lock");
  await withLock(path, 5_000, async () => {
    await expect(withLock(path, 0, async () => undefined)).rejects.toThrow(`pid ${process.pid}`);
  });
});
