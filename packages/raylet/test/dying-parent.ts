/** Main file of a process of a test: starts a child that looks at nothing, says its pid, and waits to be killed. */
import { systemClock } from "@whipray/core";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { MemoryLog } from "../src/memory-logs.ts";

const log = new MemoryLog("memory:child");
const spec = { command: process.execPath, args: ["-e", "for (;;);"], env: {}, cwd: "/", log };
const child = await new ChildProcesses(systemClock).spawn(spec);
console.log(`child ${child.pid} ${child.startTime}`);
setInterval(() => {}, 1_000_000);
