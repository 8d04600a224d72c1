/**
 * Main file of a process of a test that waits to be killed. It starts a child that looks at nothing and says its pid; with the
 * arguments `will` and what `lastWill` takes, one that leaves a process in a session of its own.
 */
import { systemClock } from "@whipray/core";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { type LastWillOptions, lastWill } from "../src/last-will.io.ts";
import { MemoryLog } from "../src/memory-logs.ts";

const log = new MemoryLog("memory:child");
const PATH = process.env["PATH"]!;
if (process.argv[2] === "will") {
  const will = JSON.parse(process.argv[3]!) as Omit<LastWillOptions, "path">;
  const processes = new ChildProcesses(systemClock, () => lastWill({ ...will, path: PATH }));
  const env = { PATH, WHIPRAY_RAYLET: will.incarnation };
  const child = await processes.spawn({ command: "/bin/sh", args: ["-c", "(setsid sleep 60 &)"], env, cwd: "/", log });
  await child.exited;
  console.log("stray");
} else {
  const spec = { command: process.execPath, args: ["-e", "for (;;);"], env: {}, cwd: "/", log };
  const child = await new ChildProcesses(systemClock).spawn(spec);
  console.log(`child ${child.pid} ${child.startTime}`);
}
setInterval(() => {}, 1_000_000);
