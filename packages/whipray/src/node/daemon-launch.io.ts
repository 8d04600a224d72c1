import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, statfsSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { delay, errorFromWire, sibling, systemClock, WhiprayError } from "@whipray/core";
import type { DaemonConfig } from "./daemon-config.ts";
import { DAEMON_LOG_VARIABLE } from "./daemon-log.io.ts";
import { type DaemonState, readDaemonState, removeFile, writeFileAtomic } from "./daemon-state.io.ts";

const POLL_MS = 25;
/** Of the log of one that ended, for the message. */
const LAST_LINES = 10;

export interface LaunchOptions {
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  /** Where stdout and stderr go, appended; default: this process' own stderr. */
  logFile?: string | undefined;
  /** How long to wait until it is up. Default 30 000. */
  timeoutMs?: number | undefined;
  /** Command that execs or forks the daemon, such as `["unshare", "--pid", "--fork"]`. */
  wrapper?: readonly string[] | undefined;
  /** Ends the wait for a daemon that nobody needs any more, and with it the daemon. */
  signal?: AbortSignal | undefined;
}

/** A daemon that was started. */
export interface LaunchedDaemon {
  readonly child: ChildProcess;
  /** Settles when the started process (the wrapper, where there is one) ended. */
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** As it said when it was up; `starting` when it was not within the time. */
  readonly state: DaemonState | undefined;
}

/**
 * Starts a head or raylet as a process of its own session, and waits until it says that it is up. A tied one ends with this
 * process; another one stays, and does not hold this process' event loop.
 * @throws WhiprayError what the daemon failed with, or, at once, `DAEMON_ENDED` with its exit and the last lines of its log; the signal's reason.
 */
export async function launchDaemon(config: DaemonConfig, options: LaunchOptions): Promise<LaunchedDaemon> {
  const { env, cwd, logFile, timeoutMs = 30_000, wrapper = [], signal } = options;
  signal?.throwIfAborted();
  const configFile = `${config.stateFile}.config`;
  removeFile(config.stateFile);
  writeFileAtomic(configFile, JSON.stringify(config));
  const command = [
    ...wrapper,
    process.execPath,
    fileURLToPath(sibling(`${config.kind}-daemon.io`, import.meta.url)),
    configFile,
  ];
  const log = logFile === undefined ? 2 : openLog(logFile);
  const child = spawn(command[0]!, command.slice(1), {
    cwd,
    env: { ...env, [DAEMON_LOG_VARIABLE]: logFile },
    detached: true,
    stdio: [config.tied ? "pipe" : "ignore", log, log],
  });
  if (logFile !== undefined) closeSync(log);
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
    child.once("error", () => resolve({ code: null, signal: null }));
  });
  child.stdin?.on("error", () => {}); // the daemon went first
  let ended: { code: number | null; signal: NodeJS.Signals | null } | undefined;
  void exited.then((exit) => {
    ended = exit;
  });
  if (!config.tied) child.unref();
  const giveUpAt = systemClock.now() + timeoutMs;
  for (;;) {
    const state = readDaemonState(config.stateFile);
    if (state?.state === "failed") {
      child.ref(); // its end is awaited, and may be all that is
      await exited;
      removeFile(config.stateFile);
      throw state.error ? errorFromWire(state.error) : endedError(config, ended, logFile);
    }
    if (state?.state === "ready" || (systemClock.now() >= giveUpAt && !ended)) return { child, exited, state };
    if (ended) {
      removeFile(configFile);
      throw endedError(config, ended, logFile);
    }
    if (signal?.aborted) {
      child.kill("SIGKILL");
      await exited;
      removeFile(configFile);
      throw signal.reason;
    }
    await delay(systemClock, POLL_MS);
  }
}

function openLog(path: string): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  return openSync(path, "a", 0o600);
}

/** What a daemon said last; nothing without a log. */
export function lastLines(logFile: string | undefined): string {
  if (logFile === undefined) return "";
  return readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-LAST_LINES).join("\n");
}

function endedError(
  { kind }: DaemonConfig,
  exit: { code: number | null; signal: NodeJS.Signals | null } | undefined,
  logFile: string | undefined,
): WhiprayError {
  const how = exit?.signal ?? `exit code ${exit?.code}`;
  const said = lastLines(logFile);
  const full = logFile !== undefined && statfsSync(logFile).bavail === 0 ? `; the disk of ${logFile} is full` : "";
  const see = said === "" ? full : `${full}; its log ${logFile} ended with\n${said}`;
  return new WhiprayError({
    code: "DAEMON_ENDED",
    message: `The ${kind} ended with ${how} while it started${see}`,
    details: { kind, ...exit, logFile },
  });
}
