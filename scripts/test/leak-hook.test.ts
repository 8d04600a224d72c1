import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const FIXTURES = fileURLToPath(new URL("../vitest/fixtures", import.meta.url));
const VITEST = fileURLToPath(new URL("../../node_modules/vitest/vitest.mjs", import.meta.url));

test("a test file that leaves a process fails, is named with it, and the process is ended", async () => {
  const run = spawnSync(process.execPath, [VITEST, "run", "--root", FIXTURES], { encoding: "utf8", timeout: 60_000 });
  const shown = run.stdout + run.stderr;
  expect(run.status, shown).toBe(1);
  expect(shown).toContain("processes that this test file left");
  const pid = Number(/process (\d+) \(environ WHIPRAY_TEST_RUN=/.exec(shown)?.[1]);
  await expect.poll(() => existsSync(`/proc/${pid}`), { timeout: 10_000 }).toBe(false);
}, 60_000);
