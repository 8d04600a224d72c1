import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { systemClock } from "@whipray/core";
import { expect, test } from "vitest";
import { snapshot, waitUntilClean } from "../src/leak-check.io.ts";
import { describeLeaks } from "../src/leak-check.ts";
import { until } from "./outside.ts";

const DEMO = fileURLToPath(new URL("../../../scripts/demo.ts", import.meta.url));
const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const START_MS = 60_000;
/** From the kill to the end of the run: guards of a killed raylet take up to 8 s, and a leak is looked for. */
const END_MS = 30_000;
const TEST_MS = START_MS + END_MS + 10_000;

test.each([
  ["head", /head (\d+) on /, "head", /ended with SIGKILL/],
  ["raylet", / n0 \((\d+)\)/, "raylet n0", /ended with SIGKILL/],
  // Its wrapper, which makes the namespaces where this machine allows them, tells of the end in its own way.
  ["raylet of the other machine", / n1 \((\d+)\)/, "raylet n1", /ended with (SIGKILL|exit code \d+)/],
])(
  "SIGKILL of the demo's %s: the run ends at once, says which daemon died and how, and leaves nothing",
  async (_, where, who, how) => {
    const mark = `demo-${process.pid}-${systemClock.now()}`;
    const before = snapshot();
    const env = { ...process.env, WHIPRAY_TEST_RUN: mark };
    const demo = spawn(process.execPath, [DEMO, "--json"], { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe"] });
    const closed = once(demo, "close");
    let [said, result] = ["", ""];
    demo.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    demo.stdout.setEncoding("utf8").on("data", (text: string) => {
      result += text;
    });
    try {
      // A line of a step: engines learn on both nodes.
      await until("the demo is in mid-run", START_MS, () => /^\s*step\s+[1-9]/m.test(said) || demo.exitCode !== null);
      const pid = Number(where.exec(said)?.[1]);
      const killedAt = systemClock.now();
      process.kill(pid, "SIGKILL");
      expect(await closed).toEqual([1, null]);
      expect(systemClock.now() - killedAt).toBeLessThan(END_MS);
      expect(said).toContain(`demo failed: The ${who} (pid ${pid}) `);
      expect(said).toMatch(how);
      expect(said).toContain("nothing is left: no process, no socket, no file");
      expect(JSON.parse(result)).toMatchObject({ error: expect.stringContaining(`The ${who} (pid ${pid}) `) });
    } catch (error) {
      console.error(said);
      throw error;
    } finally {
      demo.kill("SIGTERM");
    }
    const run = { variable: "WHIPRAY_TEST_RUN", value: mark, unmarked: false };
    expect(describeLeaks(await waitUntilClean(before, { run, prefixes: [], deadlineMs: 0 }))).toBe("");
  },
  TEST_MS,
);
