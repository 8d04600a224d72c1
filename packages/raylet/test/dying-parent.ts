/**
 * Main file of a process of a test that waits to be killed. It starts a child that looks at nothing and says its pid; with the
 * argument `will`, one that leaves a process in a session of its own.
 */
import { systemClock } from "@whipray/core";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { lastWill } from "../src/last-will.io.ts";
import { MemoryLog } from "../src/memory-logs.ts";

const log = new MemoryLog("memory:child");
const PATH = process.env["PATH"]!;
if (process.argv[2] === "will") {
  const processes = new ChildProcesses(systemClock, () => lastWill("WHIPRAY_TEST_WILL", "parent", PATH));
  const env = { PATH, WHIPRAY_TEST_WILL: "parent" };
  const child = await processes.spawn({ command: "/bin/sh", args: ["-c", "(setsid sleep 60 &)"], env, cwd: "/", log });
  await child.exited;
  console.log("stray");
} else {
  const spec = { command: process.execPath, args: ["-e", "for (;;);"], env: {}, cwd: "/", log };
  const child = await new ChildProcesses(systemClock).spawn(spec);
  console.log(`child ${child.pid} ${child.startTime}`);
}
setInterval(() => {}, 1_000_000);
