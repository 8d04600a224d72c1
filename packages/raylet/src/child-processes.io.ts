import { spawn as spawnChild } from "node:child_process";
import { accessSync, constants } from "node:fs";
import type { Readable } from "node:stream";
import { asWhiprayError, type Clock, delay, systemClock, WhiprayError } from "@whipray/core";
import type { LastWill } from "./last-will.io.ts";
import type { LogWriter, OutputStream } from "./logs.ts";
import { type MarkedProcesses, processesWith, statOf } from "./process-table.io.ts";
import type { Child, ProcessExit, Processes, SpawnSpec, SweepOutcome } from "./processes.ts";
import { spawnInTerminal } from "./pty.io.ts";

const SWEEP_PAUSE_MS = 20;
/** Looks at an unreadable /proc before it is an error. */
const LOOKS_LIMIT = 50;
const SETPRIV = "/usr/bin/setpriv";

/** Real processes of this machine. */
export class ChildProcesses implements Processes {
  readonly #clock: Clock;
  readonly #setpriv: boolean;
  readonly #writeWill: (() => LastWill) | undefined;
  #will: LastWill | undefined;

  /** `will` is made with the first process, and sees to it that nothing of ours stays when we are killed. */
  constructor(clock: Clock, will?: () => LastWill) {
    this.#clock = clock;
    this.#setpriv = executable(SETPRIV);
    this.#writeWill = will;
  }

  /** When nothing is to be started any more. */
  async close(): Promise<void> {
    await this.#will?.close();
  }

  async spawn(spec: SpawnSpec): Promise<Child> {
    this.#will ??= this.#writeWill?.();
    if (spec.terminal) return spawnInTerminal(spec, spec.terminal);
    // setpriv execs the command: same pid, and the kernel kills it when the thread that started it ends.
    const tied = this.#setpriv && spec.dieWithParent !== false;
    const argv = [...(tied ? [SETPRIV, "--pdeathsig", "KILL", "--"] : []), spec.command, ...spec.args];
    const child = spawnChild(argv[0]!, argv.slice(1), {
      cwd: spec.cwd,
      env: { ...spec.env },
      // A session of its own: Ctrl-C in the daemon's terminal is not for workers, and its group can be killed as one.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const exited = new Promise<ProcessExit>((resolve) => {
      child.once("close", (code, signal) => resolve({ code, signal }));
    });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => reject(spawnFailed(spec, error)));
    });
    child.on("error", () => {}); // kill() of a process that just ended
    const pid = child.pid!;
    feed(child.stdout, "out", spec.log);
    feed(child.stderr, "err", spec.log);
    // A grandchild that inherited the pipes keeps them open after the exit: it must not hide the exit.
    const reaped = new Promise<ProcessExit>((resolve) => {
      child.once("exit", (code, signal) => {
        this.#clock.after(OUTPUT_WAIT_MS, () => {
          child.stdout.destroy();
          child.stderr.destroy();
          resolve({ code, signal });
        });
      });
    });
    return {
      pid,
      startTime: statOf(pid)?.startTime ?? 0,
      terminal: undefined,
      exited: Promise.race([exited, reaped]),
      kill: (signal) => killGroup(pid, () => child.exitCode === null && child.signalCode === null, signal),
    };
  }

  async sweep(variable: string, value: string, timeoutMs: number, notBefore?: number): Promise<SweepOutcome> {
    const untilMs = this.#clock.now() + timeoutMs;
    const killed = new Set<string>();
    for (let empty = 0; ; ) {
      const { found, unclear } = await look(variable, value, notBefore);
      empty = found.length === 0 ? empty + 1 : 0;
      if (empty > (unclear ? 1 : 0)) return { killed: killed.size, left: 0 };
      if (this.#clock.now() >= untilMs) return { killed: killed.size, left: found.length };
      for (const { pid, startTime } of found) {
        if (statOf(pid)?.startTime !== startTime) continue;
        killed.add(`${pid}/${startTime}`);
        signalQuietly(pid, "SIGKILL");
      }
      await delay(this.#clock, SWEEP_PAUSE_MS);
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
async function look(variable: string, value: string, notBefore: number | undefined): Promise<MarkedProcesses> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await processesWith(variable, value, notBefore);
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
