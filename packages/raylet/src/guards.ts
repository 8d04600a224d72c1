import type { LogWriter } from "./logs.ts";
import type { ProcessExit } from "./processes.ts";
import type { Terminal } from "./terminal.ts";

/** A guard that hears nothing from its raylet for this long ends its tree (reliability 7.2, rule 2). */
export const GUARD_SILENCE_MS = 6_000;
/** And has killed all of it by then. */
export const GUARD_KILL_BY_MS = 8_000;
export const GUARD_BEAT_MS = 1_000;
/** A guard that echoes no beat for this long is taken for stopped: its tree is killed from outside (reliability F4). */
export const GUARD_ECHO_LIMIT_MS = 5_000;
/** From the start of a guard to the start of what it guards. */
export const GUARD_START_LIMIT_MS = 30_000;

/** Marks every process of one engine's tree. */
export const ENGINE_MARK = "WHIPRAY_ENGINE";

export interface GuardSpec {
  /** Names the tree. Unique for ever. */
  readonly treeId: string;
  /** Variable that has the name in the environment of every process of the tree. */
  readonly mark: string;
  /** Epoch of the actor's lease. */
  readonly epoch: number;
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Lock files of the devices; all must be had before the engine starts. */
  readonly locks: readonly string[];
  /** From SIGTERM to SIGKILL where nobody says otherwise. */
  readonly graceMs: number;
  readonly log: LogWriter;
  readonly pty: boolean;
}

/** What the end of a tree came to. */
export interface TreeEnd {
  /** Processes that had to be ended. */
  readonly killed: number;
  /** Processes that are still there (D state); they are watched until they go. */
  readonly left: number;
  /** Its guard was killed: what had dropped its environment may still be there, and nobody of us can tell. */
  readonly unwatched?: true;
}

/** A tree of processes under its guard: an engine, or a worker that has devices. */
export interface GuardedTree {
  /** Of the tree's first process. */
  readonly pid: number;
  /** Of the same, in clock ticks after boot. */
  readonly startTime: number;
  readonly terminal: Terminal | undefined;
  /** How the first process ended. The rest of the tree ends after it. */
  readonly exited: Promise<ProcessExit>;
  /** No process of the tree is left. May take for ever (D state). */
  readonly gone: Promise<TreeEnd>;
  /** Ends the tree: SIGTERM, SIGKILL after `graceMs`. Resolves when it is gone, or when it is clear that something is left. */
  stop(graceMs: number): Promise<TreeEnd>;
}

/** Starts processes under guards. The in-memory twin is `MemoryGuards`. */
export interface Guards {
  /**
   * Resolves when the first process runs.
   * @throws WhiprayError `DEVICE_LOCKED` naming lock and holder; `ENGINE_START_FAILED` with the reason; `INVALID_PATH` for
   * the working directory; `SPAWN_FAILED`.
   */
  start(spec: GuardSpec): Promise<GuardedTree>;
  close(): Promise<void>;
}
