import { createHash } from "node:crypto";
import { systemClock } from "@whipray/core";
import { expect, test } from "vitest";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { MemoryLog } from "../src/memory-logs.ts";
import type { Terminal } from "../src/terminal.ts";
import { until } from "./temporary-folder.ts";

const processes = new ChildProcesses(systemClock);
const PASTE = Buffer.alloc(1_048_576, "0123456789abcde\n");

async function inTerminal(script: string) {
  const env = { PATH: process.env["PATH"]! };
  const spec = { command: process.execPath, args: ["-e", script], env, cwd: "/", log: new MemoryLog("memory:x") };
  const child = await processes.spawn({ ...spec, terminal: { columns: 91, rows: 20 } });
  const terminal: Terminal = child.terminal!;
  await until("it is ready", () => terminal.scrollback().includes("ready"));
  return { child, terminal };
}

test("a paste that the process does not read stops nothing here: it waits, and the end of the process lets go of it", async () => {
  const { child, terminal } = await inTerminal(
    "process.stdin.setRawMode(true); console.log('ready'); setTimeout(() => {}, 1e6)",
  );
  let taken = false;
  const typed = terminal.write(PASTE).then(() => {
    taken = true;
  });
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(taken).toBe(false);
  child.kill("SIGKILL");
  await typed;
  await terminal.write(Buffer.from("too late"));
}, 20_000);

test("a process that reads slowly gets all of a paste, in order", async () => {
  const script = `
    const hash = require("node:crypto").createHash("sha256");
    let left = ${PASTE.length};
    process.stdin.setRawMode(true);
    process.stdin.on("data", (data) => {
      hash.update(data);
      left -= data.length;
      if (left === 0) console.log("sum " + hash.digest("hex"));
    });
    console.log("ready");`;
  const { child, terminal } = await inTerminal(script);
  await Promise.all([terminal.write(PASTE.subarray(0, 700_001)), terminal.write(PASTE.subarray(700_001))]);
  const sum = createHash("sha256").update(PASTE).digest("hex");
  await until("it has read all", () => terminal.scrollback().includes(`sum ${sum}`), 30_000);
  child.kill("SIGKILL");
  await child.exited;
}, 60_000);
