import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { silentLogger, systemClock } from "@whipray/core";
import { describe, expect, onTestFinished, test } from "vitest";
import { ChildProcesses } from "../src/child-processes.io.ts";
import { EngineGuards } from "../src/engine-guards.io.ts";
import { parseGuardLine } from "../src/guard-lines.ts";
import { type GuardLink, localGuardLink, threadedGuardLink } from "../src/guard-link.io.ts";
import { ENGINE_MARK, type GuardSpec } from "../src/guards.ts";
import { MemoryLog } from "../src/memory-logs.ts";
import { processesWith, statOf } from "../src/process-table.io.ts";
import { runtimeDirectory } from "../src/runtime-directory.ts";
import { temporaryFolder, until } from "./temporary-folder.ts";

const GUARD = fileURLToPath(new URL("../../engine/python/whipray_guard.py", import.meta.url));
const PATH = process.env["PATH"]!;
let engines = 0;

async function guards(options: { threaded?: boolean; raylet?: string; root?: string; loses?: string } = {}) {
  const { threaded = false, raylet = "inc_a", root = temporaryFolder(), loses } = options;
  const directory = runtimeDirectory(root, "cluster_a", `node_${++engines}`);
  for (const folder of ["", "/x"]) mkdirSync(directory.node + folder, { recursive: true });
  mkdirSync(directory.locks, { recursive: true });
  const whole: GuardLink = threaded
    ? threadedGuardLink(directory.guardSocket)
    : await localGuardLink(directory.guardSocket, systemClock);
  const link: GuardLink = {
    ready: () => whole.ready(),
    send: (order) => whole.send(order),
    onNews: (listener) =>
      whole.onNews((news) => (news.news === "event" && news.event.event === loses) || listener(news)),
    close: () => whole.close(),
  };
  const processes = new ChildProcesses(systemClock);
  const all = new EngineGuards({
    ...{ link, processes, directory, clock: systemClock, logger: silentLogger, cluster: "cluster_a" },
    ...{ nodeId: "node_a", raylet, python: "python3", guardFile: GUARD, env: { PATH } },
  });
  onTestFinished(() => all.close());
  const start = (script: string, more: Partial<GuardSpec> = {}) => {
    const engineId = `engine_${process.pid}x${++engines}`;
    const log = new MemoryLog("memory:engine");
    const argv = ["python3", "-u", "-c", script];
    const spec: GuardSpec = {
      treeId: engineId,
      mark: ENGINE_MARK,
      epoch: 1,
      argv,
      cwd: "/",
      env: { PATH },
      locks: [],
      graceMs: 2_000,
      log,
      pty: false,
      ...more,
    };
    return all.start(spec).then((engine) => ({ engine, engineId, log }));
  };
  return { directory, start, processes };
}

const marked = async (engineId: string) => (await processesWith(ENGINE_MARK, engineId)).found.length;

describe("engines under the real guard (mechanism 11)", () => {
  test("F21 the exit code is told unchanged, with the last lines, and nothing is left", async () => {
    const { start, directory } = await guards();
    const { engine, engineId, log } = await start("import sys; print('bye', file=sys.stderr); sys.exit(9)");
    expect(engine.pid).toBeGreaterThan(0);
    expect(await engine.exited).toEqual({ code: 9, signal: null });
    expect(await engine.gone).toEqual({ killed: 0, left: 0 });
    expect(log.errorTail()).toEqual(["bye"]);
    expect(await marked(engineId)).toBe(0);
    expect(readdirSync(`${directory.node}/x`)).toEqual([]);
  });

  test("a guard whose last word is lost says by its exit code that nothing is left; one that was killed says nothing", async () => {
    const { start } = await guards({ loses: "gone" });
    const { engine } = await start("import time; time.sleep(60)");
    expect(await engine.stop(0)).toEqual({ killed: 0, left: 0 });
    const killed = await start("import time; time.sleep(60)");
    process.kill(statOf(killed.engine.pid)!.parent, "SIGKILL");
    expect(await killed.engine.gone).toMatchObject({ left: 0, unwatched: true });
  });

  test("F21 a signal is told by its name", async () => {
    const { start } = await guards();
    const { engine } = await start("import os; os.kill(os.getpid(), 11)");
    expect(await engine.exited).toEqual({ code: null, signal: "SIGSEGV" });
    await engine.gone;
  });

  test("F22 one that ignores SIGTERM is killed after the grace; F24 with what left its session", async () => {
    const { start } = await guards();
    const script = `
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["setsid", "sh", "-c", "(sleep 60 &)"]).wait()
print("up")
time.sleep(60)`;
    const { engine, engineId, log } = await start(script);
    await until("the engine is up", () => log.errorTail().includes("up"));
    expect(await marked(engineId)).toBe(2);
    const end = await engine.stop(300);
    expect(end.left).toBe(0);
    expect(end.killed).toBeGreaterThanOrEqual(2);
    expect(await engine.exited).toEqual({ code: null, signal: "SIGKILL" });
    expect(await marked(engineId)).toBe(0);
  });

  test("F3 SIGKILL of the guard: the engine and all of its tree are gone, and the end is told", async () => {
    const { start } = await guards();
    const { engine, engineId, log } = await start(
      "import subprocess, time; subprocess.Popen(['setsid', 'sleep', '60']); print('up'); time.sleep(60)",
    );
    await until("the engine is up", () => log.errorTail().includes("up"));
    process.kill(guardOf(engine.pid), "SIGKILL");
    expect(await engine.exited).toEqual({ code: null, signal: "SIGKILL" });
    expect((await engine.gone).left).toBe(0);
    expect(await marked(engineId)).toBe(0);
  });

  test("F4 a stopped guard is noticed by its silence, and its tree is killed from outside", async () => {
    const { start } = await guards();
    const { engine, engineId } = await start("import time; time.sleep(60)");
    process.kill(guardOf(engine.pid), "SIGSTOP");
    expect((await engine.gone).left).toBe(0);
    expect(await marked(engineId)).toBe(0);
  });

  test("F40 a blocked main loop kills no engine: beats come from another thread", async () => {
    const { start } = await guards({ threaded: true });
    const { engine } = await start("import time; time.sleep(60)");
    const untilMs = performance.now() + 7_000;
    while (performance.now() < untilMs);
    let exited = false;
    void engine.exited.then(() => {
      exited = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(exited).toBe(false);
    await engine.stop(0);
  });

  test("F32 a device that another raylet's guard holds: DEVICE_LOCKED, naming the holder", async () => {
    const root = temporaryFolder();
    const [first, second] = [await guards({ root, raylet: "inc_a" }), await guards({ root, raylet: "inc_b" })];
    const locks = [`${first.directory.locks}/gpu-0.lock`];
    const held = await first.start("import time; time.sleep(60)", { locks });
    // A fraction of the same raylet shares it.
    const shared = await first.start("import time; time.sleep(60)", { locks });
    const refused = second.start("import time; time.sleep(60)", { locks });
    await expect(refused).rejects.toMatchObject({
      code: "DEVICE_LOCKED",
      details: { holder: { raylet: "inc_a", cluster: "cluster_a" } },
    });
    await Promise.all([held.engine.stop(0), shared.engine.stop(0)]);
    const now = await second.start("pass", { locks });
    expect(await now.engine.exited).toEqual({ code: 0, signal: null });
    await now.engine.gone;
  });

  test.each([
    ["a program that is missing", { argv: ["/no/such/python"] }, "ENGINE_START_FAILED"],
    ["a working directory that is missing (B28)", { cwd: "/no/such/folder" }, "INVALID_PATH"],
  ])("%s", async (_, more, code) => {
    const { start, directory } = await guards();
    await expect(start("pass", more)).rejects.toMatchObject({ code });
    await until("nothing is left", () => readdirSync(`${directory.node}/x`).length === 0);
  });

  test("argv is passed as it is, no shell (B27)", async () => {
    const { start } = await guards();
    const words = ["$(touch /tmp/whipray-owned)", "; rm -rf x", "`id`"];
    const { engine, log } = await start("", { argv: ["python3", "-c", "import sys; print(sys.argv[1:])", ...words] });
    await engine.gone;
    await until("its output", () => log.errorTail().length > 0);
    for (const word of words) expect(log.errorTail()[0]).toContain(word);
    expect(existsSync("/tmp/whipray-owned")).toBe(false);
  });

  test("in a pseudo-terminal the engine has one, and the exit code survives", async () => {
    const { start } = await guards();
    const { engine } = await start("import sys; print('tty', sys.stdin.isatty()); sys.exit(len(input()))", {
      pty: true,
    });
    await until("the prompt", () => engine.terminal?.scrollback().includes("tty True"));
    await engine.terminal?.write(Buffer.from("four\r"));
    expect(await engine.exited).toEqual({ code: 4, signal: null });
    await engine.gone;
  });
});

describe("lines of guards", () => {
  test.each([
    "",
    "null",
    "[]",
    "{}",
    '{"event":"other"}',
    '{"hello":2}',
    '{"hello":1,"lease":7}',
    '{"event":"started","pid":-1}',
  ])("%j is ignored", (line) => {
    expect(parseGuardLine(line)).toBeUndefined();
  });
});

function guardOf(pid: number): number {
  return Number(execFileSync("ps", ["-o", "ppid=", "-p", String(pid)], { encoding: "utf8" }));
}
