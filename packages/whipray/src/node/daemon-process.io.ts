import { readFileSync } from "node:fs";
import { asWhiprayError, errorToWire, type Logger, type WhiprayError } from "@whipray/core";
import { type DaemonConfig, parseDaemonConfig } from "./daemon-config.ts";
import { daemonLogger } from "./daemon-logger.io.ts";
import { type DaemonState, processStartTime, removeFile, writeDaemonState } from "./daemon-state.io.ts";

type ConfigOf<Kind> = Extract<DaemonConfig, { kind: Kind }>;

/** A daemon that is up. */
export interface RunningDaemon {
  /** What its state file says from now on. */
  facts: Partial<DaemonState>;
  stop(reason: string): Promise<void>;
}

/** What starting one gets. */
export interface DaemonContext {
  logger: Logger;
  /** Aborted when the daemon is to leave, also while it starts. */
  leave: AbortSignal;
  /** Why it is not ready yet, though it tries on: for its state file. */
  notYet: (error: WhiprayError) => void;
}

/** Second signal, or a stop that takes longer than this, ends the process at once. */
const STOP_LIMIT_MS = 30_000;

/**
 * The life of a daemon's process: reads and removes its configuration (first argument), starts, says so in its state file, and
 * leaves in order on SIGTERM, SIGINT, or, when it is tied, at the end of its stdin. Logs JSON lines to stderr.
 */
export async function runDaemon<Kind extends DaemonConfig["kind"]>(
  kind: Kind,
  start: (config: ConfigOf<Kind>, context: DaemonContext) => Promise<RunningDaemon>,
): Promise<void> {
  const logger = daemonLogger({ daemon: kind, pid: process.pid });
  process.on("uncaughtException", (error) => {
    logger.error("uncaught exception", { error: error.stack ?? String(error) });
    process.exit(1);
  });
  const path = process.argv[2] ?? "";
  const config = parseDaemonConfig(readFileSync(path, "utf8"), kind);
  removeFile(path);
  const self = { kind, pid: process.pid, startTime: processStartTime("self") ?? 0 };
  const { leave, left } = leaving(config.tied, logger);
  writeDaemonState(config.stateFile, { ...self, state: "starting" });
  try {
    let ready = false;
    const notYet = (error: WhiprayError): void => {
      if (!ready) writeDaemonState(config.stateFile, { ...self, state: "starting", error: errorToWire(error) });
    };
    const running = await start(config, { logger, leave, notYet });
    ready = true;
    if (!leave.aborted) writeDaemonState(config.stateFile, { ...self, state: "ready", ...running.facts });
    const reason = await left;
    logger.info("leaving", { reason });
    await running.stop(reason);
    removeFile(config.stateFile);
    process.exit(0);
  } catch (thrown) {
    const error = asWhiprayError(thrown);
    try {
      writeDaemonState(config.stateFile, { ...self, state: "failed", error: errorToWire(error) });
      logger.error("failed", { code: error.code, error: error.stack ?? error.message });
    } finally {
      process.exit(1); // on a full disk nothing can be said
    }
  }
}

/** When, and why, this process must leave. */
function leaving(tied: boolean, logger: Logger): { leave: AbortSignal; left: Promise<string> } {
  const controller = new AbortController();
  const { promise: left, resolve } = Promise.withResolvers<string>();
  const go = (reason: string): void => {
    if (controller.signal.aborted) {
      logger.warn("ended at once: asked again", { reason });
      process.exit(1);
    }
    setTimeout(() => {
      logger.error("ended at once: leaving took too long", { limitMs: STOP_LIMIT_MS });
      process.exit(1);
    }, STOP_LIMIT_MS).unref();
    resolve(reason);
    controller.abort();
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => go(signal));
  if (tied) {
    process.stdin.once("close", () => {
      if (!controller.signal.aborted) go("its parent is gone");
    });
    process.stdin.on("error", () => {}); // "close" follows
    process.stdin.resume();
  }
  return { leave: controller.signal, left };
}
