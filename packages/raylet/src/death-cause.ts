import { errorToWire, WhiprayError } from "@whipray/core";
import type { DeathCause } from "@whipray/rpc";
import type { LogWriter } from "./logs.ts";
import type { ProcessExit } from "./processes.ts";

/** Characters of a cause's message that cross the wire. */
const MESSAGE_LIMIT = 8_000;

const OUT_OF_MEMORY =
  ": the kernel ended it for want of memory, of the machine or of its control group. Give it less to hold, or run fewer beside it (`memory` among the resources)";

/** What is known of a process that ended. */
export interface Corpse {
  readonly nodeId: string;
  readonly pid: number;
  readonly exit: ProcessExit;
  readonly log: LogWriter;
}

/** `exit code 3` or `signal SIGSEGV`. */
export function showExit(exit: ProcessExit): string {
  return exit.signal === null ? `exit code ${exit.code}` : `signal ${exit.signal}`;
}

/** Why a process ended, with how, where, and its last words (design.md, promise 7). */
export function deathCause(kind: DeathCause["kind"], message: string, corpse: Corpse): DeathCause {
  const { exit, log, pid, nodeId } = corpse;
  const outOfMemory = kind === "WORKER_DIED" && exit.outOfMemory === true;
  return {
    kind: outOfMemory ? "OUT_OF_MEMORY" : kind,
    message: `${message}${outOfMemory ? OUT_OF_MEMORY : ""}`.slice(0, MESSAGE_LIMIT),
    ...(exit.code !== null && { exitCode: exit.code }),
    ...(exit.signal !== null && { signal: exit.signal }),
    stderrTail: log.errorTail(),
    logPath: log.path,
    pid,
    nodeId,
  };
}

/** A cause that somebody else gave (the head's reason for a kill) with what is known of the process. */
export function withCorpse(cause: DeathCause, corpse: Corpse): DeathCause {
  return { ...deathCause(cause.kind, cause.message, corpse), ...cause };
}

/** Why something could not be made at all. */
export function creationFailed(error: unknown, nodeId: string, corpse?: Corpse): DeathCause {
  const wire = errorToWire(error);
  const message = error instanceof Error ? error.message : String(error);
  const known = corpse
    ? deathCause("CREATION_FAILED", message, corpse)
    : { kind: "CREATION_FAILED" as const, message, nodeId };
  return { ...known, message: message.slice(0, MESSAGE_LIMIT), error: wire };
}

/** Why an actor got no process: a process that died is no fault of the actor's (it may be restarted), a refused environment is. */
export function startFailed(error: unknown, nodeId: string): DeathCause {
  const code = error instanceof WhiprayError ? error.code : "";
  if (code !== "WORKER_START_FAILED" && code !== "SPAWN_FAILED") return creationFailed(error, nodeId);
  const { details, message } = error as WhiprayError;
  return { ...(details["cause"] as DeathCause | undefined), kind: "WORKER_DIED", message, nodeId };
}

/** The cause as an error for a caller on this machine. */
export function causeError(process: string, cause: DeathCause): WhiprayError {
  const { message, exitCode, signal, stderrTail, logPath, pid, nodeId } = cause;
  return new WhiprayError({
    code: "WORKER_CRASHED",
    message: `${process} is gone: ${message}`,
    details: { process, cause },
    where: {
      process,
      ...(nodeId !== undefined && { node: nodeId }),
      ...(pid !== undefined && { pid }),
      ...(exitCode !== undefined && { exitCode }),
      ...(signal !== undefined && { signal }),
      ...(stderrTail !== undefined && { stderrTail }),
      ...(logPath !== undefined && { logPath }),
    },
  });
}
