import { appendFileSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { DAEMON_LOG_LIMIT_BYTES, RotatedLog } from "../src/node/daemon-log.io.ts";

function opened(): { path: string; fd: number } {
  const folder = mkdtempSync(join(tmpdir(), "wl-"));
  const path = join(folder, "head.log");
  const fd = openSync(path, "a", 0o600);
  onTestFinished(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });
  return { path, fd };
}

test("a daemon's log is set aside at its limit: never more than twice as much, the newest lines whole and in order", () => {
  const { path, fd } = opened();
  const log = new RotatedLog({ write: (line) => writeSync(fd, line) }, fd, path);
  const lines = Array.from({ length: 600 }, (_, index) => `${index}:${"x".repeat(65_536)}\n`);
  expect(lines.join("").length).toBeGreaterThan(2 * DAEMON_LOG_LIMIT_BYTES);
  for (const line of lines) log.write(line);
  const [before, now] = [`${path}.1`, path].map((file) => readFileSync(file, "utf8")) as [string, string];
  for (const file of [before, now]) expect(file.length).toBeLessThanOrEqual(DAEMON_LOG_LIMIT_BYTES);
  expect(lines.join("").endsWith(before + now)).toBe(true);
  expect(now.length).toBeGreaterThan(0);
});

test("what an earlier daemon left in the file counts; a log that cannot be kept is cut, and says so", () => {
  const { path, fd } = opened();
  appendFileSync(path, "=".repeat(100));
  const log = new RotatedLog({ write: (line) => writeSync(fd, line) }, fd, "/nowhere/head.log", 120);
  log.write("a line that no longer fits in\n");
  const text = readFileSync(path, "utf8");
  expect(text).toContain("the log was cut and not kept");
  expect(text).toContain("a line that no longer fits in");
  expect(text).not.toContain("===");
  expect(statSync(path).size).toBe(text.length);
});
