import { type ChildProcess, type SpawnOptions, spawn as spawnChild } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import type { Readable } from "node:stream";
import { asWhiprayError, type Clock, delay, systemClock, WhiprayError } from "@whipray/core";
import type { LastWill } from "./last-will.io.ts";
import type { LogWriter, OutputStream } from "./logs.ts";
import type { MemoryKills } from "./memory-kills.ts";
import { type MarkedProcesses, processesWith, statOf } from "./process-table.io.ts";
import type { Child, ProcessExit, Processes, SpawnSpec, SweepOutcome } from "./processes.ts";
import { spawnInTerminal } from "./pty.io.ts";
import { SweepLooks } from "./sweep-looks.ts";

const SWEEP_PAUSE_MS = 20;
/** Before another look, where one found nothing that may be believed. */
const UNCLEAR_PAUSE_MS = 2;
/** Looks at an unreadable /proc before it is an error. */
const LOOKS_LIMIT = 50;
const SETPRIV = "/usr/bin/setpriv";

/**
 * The arguments of `spawn` for a child of ours that has no terminal. `stdin: "pipe"` is for who ends it later.
 */
export function spawnArguments(
  spec: Omit<SpawnSpec, "log">,
  stdin: "ignore" | "pipe" = "ignore",
): { file: string; args: string[]; options: SpawnOptions } {
  // setpriv execs the command: same pid, and the kernel kills it when the thread that started it ends.
  const tied = spec.dieWithParent !== false && executable(SETPRIV);
  const [file, ...args] = [...(tied ? [SETPRIV, "--pdeathsig", "KILL", "--"] : []), spec.command, ...spec.args];
  return {
    file: file!,
    args,
    options: {
      cwd: spec.cwd,
      env: { ...spec.env },
      // A session of its own: Ctrl-C in the daemon's terminal is not for workers, and its group can be killed as one.
      detached: true,
      stdio: [stdin, "pipe", "pipe"],
    },
  };
}

/** Real processes of this machine. */
export class ChildProcesses implements Processes {
  readonly #clock: Clock;
  readonly #writeWill: (() => LastWill) | undefined;
  readonly #memoryKills: MemoryKills | undefined;
  #will: LastWill | undefined;
  /** Pids of our children, until they are reaped. */
  readonly #ours = new Set<number>();

  /** `will` is made with the first process, and sees to it that nothing of ours stays when we are killed. `memoryKills` says why others did. */
  constructor(clock: Clock, will?: () => LastWill, memoryKills?: MemoryKills) {
    this.#memoryKills = memoryKills;
    this.#clock = clock;
    this.#writeWill = will;
  }

  /** When nothing is to be started any more. */
  async close(): Promise<void> {
    await this.#will?.close();
  }

  async spawn(spec: SpawnSpec): Promise<Child> {
    this.#will ??= this.#writeWill?.();
    if (spec.terminal) return spawnInTerminal(spec, spec.terminal);
    const { file, args, options } = spawnArguments(spec);
    const child = spawnChild(file, args, options);
    if (child.pid === undefined) {
      const [error] = (await once(child, "error")) as [NodeJS.ErrnoException];
      throw spawnFailed(spec, error);
    }
    return this.adopt(child, spec.log);
  }

  /** Makes a child of ours that was started with `spawnArguments` and runs, or did: its output goes to `log` from now on. */
  adopt(child: ChildProcess, log: LogWriter): Child {
    this.#will ??= this.#writeWill?.();
    child.on("error", () => {}); // kill() of a process that just ended
    const [pid, stdout, stderr] = [child.pid!, child.stdout!, child.stderr!];
    const { exitCode, signalCode } = child;
    if (exitCode === null && signalCode === null) this.#ours.add(pid);
    child.once("exit", () => this.#ours.delete(pid));
    const exited = new Promise<ProcessExit>((resolve) => {
      child.once("close", (code, signal) => resolve({ code, signal }));
      if (exitCode !== null || signalCode !== null) resolve({ code: exitCode, signal: signalCode });
    });
    feed(stdout, "out", log);
    feed(stderr, "err", log);
    // A grandchild that inherited the pipes keeps them open after the exit: it must not hide the exit.
    const reaped = new Promise<ProcessExit>((resolve) => {
      child.once("exit", (code, signal) => {
        this.#clock.after(OUTPUT_WAIT_MS, () => {
          stdout.destroy();
          stderr.destroy();
          resolve({ code, signal });
        });
      });
    });
    let ours = false;
    const ended = Promise.race([exited, reaped]);
    return {
      pid,
      startTime: statOf(pid)?.startTime ?? 0,
      terminal: undefined,
      exited: ended.then((exit) => (ours ? exit : (this.#memoryKills?.judged(pid, exit) ?? exit))),
      kill: (signal) => {
        ours ||= signal === "SIGKILL";
        return killGroup(pid, () => child.exitCode === null && child.signalCode === null, signal);
      },
    };
  }

  async sweep(variable: string, value: string, timeoutMs: number, notBefore?: number): Promise<SweepOutcome> {
    const untilMs = this.#clock.now() + timeoutMs;
    const killed = new Set<string>();
    const looks = new SweepLooks();
    for (;;) {
      const seen = await look(variable, value, notBefore, notBefore === undefined ? undefined : this.#ours);
      const { found } = seen;
      if (looks.over(seen, this.#clock.now())) return { killed: killed.size, left: 0 };
      if (this.#clock.now() >= untilMs) return { killed: killed.size, left: found.length };
      for (const { pid, startTime } of found) {
        if (statOf(pid)?.startTime !== startTime) continue;
        killed.add(`${pid}/${startTime}`);
        signalQuietly(pid, "SIGKILL");
      }
      await delay(this.#clock, found.length > 0 ? SWEEP_PAUSE_MS : UNCLEAR_PAUSE_MS);
    }
  }

  alive(pid: number, startTime: number): boolean {
    const stat = statOf(pid);
    return stat !== undefined && stat.startTime === startTime && stat.state !== "Z";
  }
}

/** How long output is still read after an exit whose pipes somebody else holds open. */
const OUTPUT_WAIT_MS = 500;

/** /proc can be unreadable for a moment (no descriptor left, F38): then nothing is known, and the look is repeated. */
async function look(
  variable: string,
  value: string,
  notBefore: number | undefined,
  except: ReadonlySet<number> | undefined,
): Promise<MarkedProcesses> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await processesWith(variable, value, notBefore, except);
    } catch (error) {
      if (attempt === LOOKS_LIMIT) throw asWhiprayError(error, "PROC_UNREADABLE");
      await delay(systemClock, SWEEP_PAUSE_MS * attempt);
    }
  }
}

function feed(pipe: Readable, stream: OutputStream, log: LogWriter): void {
  pipe.on("data", (chunk: Buffer) => {
    if (log.write(stream, chunk)) return;
    pipe.pause();
    void log.drained().then(() => pipe.resume());
  });
  pipe.on("error", () => {}); // "close" of the process follows and says how it ended
}

function killGroup(pid: number, running: () => boolean, signal: NodeJS.Signals): boolean {
  // While it is not reaped, its number is still its own, and that of its group.
  if (!running()) return false;
  return signalQuietly(-pid, signal) || signalQuietly(pid, signal);
}

function signalQuietly(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false; // gone, or not ours
  }
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function spawnFailed(spec: SpawnSpec, error: NodeJS.ErrnoException): WhiprayError {
  const reason =
    error.code === "ENOENT" ? `${spec.command} or its working directory ${spec.cwd} is missing` : error.message;
  return new WhiprayError({
    code: "SPAWN_FAILED",
    message: `could not start ${spec.command}: ${reason}`,
    retryable: error.code === "EAGAIN" || error.code === "ENOMEM" || error.code === "EMFILE",
    details: { command: spec.command, errno: error.code },
    cause: error,
  });
}
