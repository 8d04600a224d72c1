import type { GuardedTree } from "./guards.ts";
import type { LogWriter } from "./logs.ts";
import type { Terminal } from "./terminal.ts";

/** How a process ended: an exit code or a signal's name, unchanged. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: string | null;
  /** The kernel ended it for want of memory, as far as can be told. */
  readonly outOfMemory?: boolean;
}

export interface SpawnSpec {
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Where stdout and stderr go. A full log pauses the pipe. */
  readonly log: LogWriter;
  /** Standard streams are a pseudo-terminal of this size. */
  readonly terminal?: { readonly columns: number; readonly rows: number };
  /** The kernel kills it when we die, where the machine can do that. Default true. */
  readonly dieWithParent?: boolean;
}

/** A running child. Identity is pid and start time, never the pid alone. */
export interface Child {
  readonly pid: number;
  /** Clock ticks after boot at which it started; 0 when it was gone before we could look. */
  readonly startTime: number;
  readonly terminal: Terminal | undefined;
  /** Of one that runs under a guard: the end of everything that it started. */
  readonly tree?: Pick<GuardedTree, "gone" | "stop">;
  /** Resolves when it was reaped and its output has been taken. */
  readonly exited: Promise<ProcessExit>;
  /** Signals it, with its whole group where it leads one. False when it is gone. */
  kill(signal: NodeJS.Signals): boolean;
}

export interface SweepOutcome {
  readonly killed: number;
  /** Processes that were still there at the end (D state). */
  readonly left: number;
}

/** Starts and ends processes of this machine. The in-memory twin is `MemoryProcesses`. */
export interface Processes {
  /** @throws WhiprayError `SPAWN_FAILED` naming command and reason (missing, not executable, no memory). */
  spawn(spec: SpawnSpec): Promise<Child>;
  /**
   * SIGKILLs every process whose environment holds `variable=value`, again until none is left or `timeoutMs` is over. Finds what
   * left its session, its group and its parents. `notBefore` is the start time of a child of ours that ended, whose
   * descendants they are: neither older ones nor our other children are looked at.
   */
  sweep(variable: string, value: string, timeoutMs: number, notBefore?: number): Promise<SweepOutcome>;
  /** Whether this very process (not another one of the same number) still runs. */
  alive(pid: number, startTime: number): boolean;
}
