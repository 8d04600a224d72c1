import { readFileSync } from "node:fs";
import { systemClock } from "@whipray/core";
import { describe, expect, test } from "vitest";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { MemoryLog } from "../src/memory-logs.ts";
import { isInExec, parseStat, processesWith, statOf } from "../src/process-table.io.ts";
import { until } from "./temporary-folder.ts";

const processes = new ChildProcesses(systemClock);

function spec(args: string[], env: Record<string, string> = {}) {
  const log = new MemoryLog("memory:x");
  return { command: process.execPath, args, env: { PATH: process.env["PATH"]!, ...env }, cwd: "/", log };
}

describe("child processes", () => {
  test.each([
    ["process.exit(7)", { code: 7, signal: null }],
    ["process.kill(process.pid, 'SIGSEGV')", { code: null, signal: "SIGSEGV" }],
  ])("F21 %s is told unchanged", async (script, exit) => {
    const child = await processes.spawn(spec(["-e", script]));
    expect(child.startTime).toBeGreaterThan(0);
    expect(await child.exited).toEqual(exit);
    expect(processes.alive(child.pid, child.startTime)).toBe(false);
    expect(child.kill("SIGKILL")).toBe(false);
  });

  test("last words are there when the exit is told", async () => {
    const one = spec(["-e", "console.log('out'); console.error('err'); process.exit(1)"]);
    const child = await processes.spawn(one);
    await child.exited;
    expect(one.log.errorTail()).toEqual(["err"]);
    expect((await one.log.tail(9)).sort()).toEqual(["err", "out"]);
  });

  test("a grandchild that keeps the pipes open does not hide the exit", async () => {
    const script =
      "require('child_process').spawn('sleep', ['60'], { stdio: 'inherit', detached: true }).unref(); process.exit(3)";
    const child = await processes.spawn(spec(["-e", script], { WHIPRAY_TEST_MARK: "pipes" }));
    expect(await child.exited).toEqual({ code: 3, signal: null });
    expect(await processes.sweep("WHIPRAY_TEST_MARK", "pipes", 5_000)).toEqual({ killed: 1, left: 0 });
  });

  test("a command that is missing: SPAWN_FAILED naming it", async () => {
    const attempt = processes.spawn({ ...spec([]), command: "/no/such/node", dieWithParent: false });
    await expect(attempt).rejects.toMatchObject({
      code: "SPAWN_FAILED",
      message: expect.stringContaining("/no/such/node"),
    });
  });

  test("kill takes the whole group", async () => {
    const script =
      "const c = require('child_process').spawn('sleep', ['60']); console.log(c.pid); setInterval(() => {}, 1e6)";
    const one = spec(["-e", script]);
    const child = await processes.spawn(one);
    const pid = await until("the grandchild's pid", () => {
      const line = /\d+/.exec(one.log.errorTail()[0] ?? "");
      return line ? Number(line[0]) : undefined;
    });
    const startTime = statOf(pid)!.startTime;
    expect(child.kill("SIGKILL")).toBe(true);
    await child.exited;
    await until("the grandchild is gone", () => !processes.alive(pid, startTime));
  });

  test("F24 a sweep finds what left session, group and parents", async () => {
    const script = `
      const { spawn } = require("child_process");
      // A session leader already. (setsid would fork, and its end would come before anything was started.)
      spawn("sh", ["-c", "(sleep 60 &) ; (setsid sleep 60 &)"], { stdio: "ignore", detached: true }).on("exit", () => process.exit(0));`;
    const child = await processes.spawn(spec(["-e", script], { WHIPRAY_TEST_MARK: "tree" }));
    await child.exited;
    expect((await processesWith("WHIPRAY_TEST_MARK", "tre")).found).toEqual([]);
    const { killed, left } = await processes.sweep("WHIPRAY_TEST_MARK", "tree", 5_000);
    expect(left).toBe(0);
    expect(killed).toBeGreaterThanOrEqual(2);
    expect((await processesWith("WHIPRAY_TEST_MARK", "tree")).found).toEqual([]);
  });

  test("F1 a worker dies with its raylet, also one that looks at nothing", async () => {
    const entry = new URL("./dying-parent.ts", import.meta.url).pathname;
    const one = spec([entry]);
    const parent = await processes.spawn(one);
    const [pid, startTime] = await until("the child's pid", () => {
      const line = /child (\d+) (\d+)/.exec(one.log.errorTail().join("\n"));
      return line ? ([Number(line[1]), Number(line[2])] as const) : undefined;
    });
    expect(processes.alive(pid, startTime)).toBe(true);
    process.kill(parent.pid, "SIGKILL");
    await parent.exited;
    await until("the child is gone", () => !processes.alive(pid, startTime));
  });

  test("a pseudo-terminal: a terminal for the process, scrollback and input for us", async () => {
    const one = spec([
      "-e",
      "console.log('tty ' + process.stdin.isTTY + ' ' + process.stdout.columns); process.stdin.once('data', (d) => { console.log('got', String(d).trim()); process.exit(4); })",
    ]);
    const child = await processes.spawn({ ...one, terminal: { columns: 91, rows: 20 } });
    const terminal = child.terminal!;
    const seen: string[] = [];
    terminal.onData((data) => seen.push(Buffer.from(data).toString()));
    await until("the prompt", () => terminal.scrollback().includes("tty true 91"));
    terminal.resize(100, 30);
    await terminal.write(Buffer.from("hello\r"));
    expect(await child.exited).toEqual({ code: 4, signal: null });
    expect(terminal.scrollback().toString()).toContain("got hello");
    expect(seen.join("")).toContain("got hello");
    expect(one.log.errorTail().join("\n")).toContain("got hello");
  });

  test("names with spaces and parentheses do not confuse /proc", () => {
    const fields = ["S", "1", ...Array.from({ length: 17 }, () => "0"), "4711", "0"];
    expect(parseStat(9, `9 (a) b) (c) ${fields.join(" ")}`)).toEqual({
      pid: 9,
      state: "S",
      parent: 1,
      startTime: 4_711,
    });
    expect(statOf(process.pid)?.pid).toBe(process.pid);
    const own = readFileSync("/proc/self/stat", "latin1");
    expect(own).toContain("(");
    const rest = own.slice(own.lastIndexOf(")") + 2).split(" ");
    expect([isInExec(own), isInExec(`9 (a) b) ${rest.with(47, "0").join(" ")}`), isInExec("")]).toEqual([
      ...[false, true, false],
    ]);
  });

  test("F24 a process without any environment is looked at once, and is not taken for one in the middle of an exec", async () => {
    const child = await processes.spawn({ ...spec(["-i", "/bin/sleep", "60"]), command: "/usr/bin/env" });
    await until("it has none", () => readFileSync(`/proc/${child.pid}/cmdline`, "latin1").startsWith("/bin/sleep"));
    const { found } = await processesWith("WHIPRAY_TEST_MARK", "none");
    expect(found).toEqual([]);
    expect(isInExec(readFileSync(`/proc/${child.pid}/stat`, "latin1"))).toBe(false);
    child.kill("SIGKILL");
    await child.exited;
  });
});
