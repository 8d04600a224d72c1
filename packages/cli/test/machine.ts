import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));
/** A user's program, which makes the actor `talker` and lets it speak. */
export const DRIVER = fileURLToPath(new URL("./fixtures/driver.ts", import.meta.url));

export interface End {
  code: number;
  stdout: string;
  stderr: string;
}

/** A machine, as far as files go: a home and a runtime folder of its own. */
export interface Machine {
  home: string;
  run: string;
  env: Record<string, string>;
  node(args: string[], more?: Record<string, string>): Promise<End>;
  whipray(...args: string[]): Promise<End>;
  /** Ends what runs there, and removes its files. */
  leave(): Promise<void>;
}

export function makeMachine(more: Record<string, string> = {}): Machine {
  const home = mkdtempSync(join(tmpdir(), "wc-"));
  const run = join(home, "run");
  mkdirSync(run, { mode: 0o700 });
  const { PATH = "", WHIPRAY_TEST_RUN: mark } = process.env;
  const env = { PATH, HOME: home, WHIPRAY_RUNTIME_DIR: run, ...(mark && { WHIPRAY_TEST_RUN: mark }), ...more };
  const node: Machine["node"] = (args, extra = {}) =>
    new Promise((resolve) => {
      const child = execFile(process.execPath, args, { env: { ...env, ...extra } }, (_, stdout, stderr) => {
        resolve({ code: child.exitCode ?? -1, stdout, stderr });
      });
    });
  const whipray: Machine["whipray"] = (...args) => node([MAIN, ...args]);
  const leave = async (): Promise<void> => {
    await whipray("stop", "--force");
    rmSync(home, { recursive: true, force: true });
  };
  return { home, run, env, node, whipray, leave };
}

/** A command that stays, and what it has said so far, line by line. */
export interface Follower {
  child: ChildProcess;
  out: string[];
  err: string[];
  ended: Promise<number | null>;
}

export function follow({ env }: Machine, ...args: string[]): Follower {
  const child = spawn(process.execPath, [MAIN, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
  const lines = (stream: NodeJS.ReadableStream): string[] => {
    const said: string[] = [];
    createInterface({ input: stream }).on("line", (line) => void said.push(line));
    return said;
  };
  // "close": its last words are here.
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  return { child, out: lines(child.stdout!), err: lines(child.stderr!), ended };
}

const LOOK_MS = 20;

/** Waits for a condition; its deadline is one of patience, and no measure of speed. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 60_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
