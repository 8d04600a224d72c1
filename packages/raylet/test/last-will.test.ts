import { systemClock } from "@whipray/core";
import { expect, test } from "vitest";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { lastWill } from "../src/last-will.io.ts";
import { MemoryLog } from "../src/memory-logs.ts";
import { processesWith } from "../src/process-table.io.ts";
import { until } from "./temporary-folder.ts";

const PATH = process.env["PATH"]!;

async function stray(processes: ChildProcesses, value: string): Promise<void> {
  const log = new MemoryLog("memory:x");
  const env = { PATH, WHIPRAY_TEST_WILL: value };
  const child = await processes.spawn({ command: "/bin/sh", args: ["-c", "(setsid sleep 60 &)"], env, cwd: "/", log });
  await child.exited;
}

const marked = async (value: string) => (await processesWith("WHIPRAY_TEST_WILL", value)).found.length;

test("a last will ends what carries its mark, and nobody else", async () => {
  const processes = new ChildProcesses(systemClock, () => lastWill("WHIPRAY_TEST_WILL", "mine", PATH));
  await stray(processes, "mine");
  await stray(processes, "mine2");
  expect(await marked("mine")).toBe(1);
  await processes.close();
  expect(await marked("mine")).toBe(0);
  expect(await processes.sweep("WHIPRAY_TEST_WILL", "mine2", 5_000)).toEqual({ killed: 1, left: 0 });
});

test("F1 F24 SIGKILL of a raylet: what a worker started in a session of its own is gone, with no raylet to look for it", async () => {
  const processes = new ChildProcesses(systemClock);
  const log = new MemoryLog("memory:x");
  const args = [new URL("./dying-parent.ts", import.meta.url).pathname, "will"];
  const parent = await processes.spawn({ command: process.execPath, args, env: { PATH }, cwd: "/", log });
  await until("the stray process", () => log.errorTail().join("\n").includes("stray"), 25_000);
  expect(await marked("parent")).toBe(1);
  process.kill(parent.pid, "SIGKILL");
  await parent.exited;
  const untilMs = performance.now() + 10_000;
  while ((await marked("parent")) > 0) {
    if (performance.now() > untilMs) throw new Error("it is still there");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}, 60_000);
