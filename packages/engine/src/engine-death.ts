import { OutOfMemoryError, type Where, WorkerCrashedError } from "@whipray/core";
import type { DeathCause } from "@whipray/rpc";

/** Lines of stderr that an error's message shows; `where.stderrTail` has all that the raylet kept. */
const SHOWN_LINES = 20;

/** Which engine died, as its launcher knows it. */
export interface DeadEngine {
  readonly engineId: string;
  readonly nodeId: string;
  readonly actorId: string;
  readonly pid?: number | undefined;
  readonly logPath?: string | undefined;
}

/**
 * What a caller sees of an engine that is gone: exit code or signal, the last lines of stderr and the log's path (design.md,
 * promise 7). `cause` is undefined when the raylet did not tell in time. `while` says what was going on.
 */
export function engineCrashed(
  engine: DeadEngine,
  cause: DeathCause | undefined,
  context: { code?: string; during?: string | undefined; underlying?: unknown },
): WorkerCrashedError {
  const where = whereOf(engine, cause);
  const doing = context.during === undefined ? "" : ` ${context.during}`;
  const tail = where.stderrTail?.slice(-SHOWN_LINES).join("\n");
  const message = [
    `Engine ${engine.engineId} (pid ${where.pid ?? "unknown"}) on ${engine.nodeId} ended${doing}: ${ending(where, cause)}`,
    ...(tail ? [`its last lines of stderr:\n${tail}`] : []),
    ...(where.logPath ? [`its log: ${where.logPath}`] : []),
  ].join("; ");
  const Kind = cause?.kind === "OUT_OF_MEMORY" ? OutOfMemoryError : WorkerCrashedError;
  return new Kind({
    code: context.code ?? "WORKER_CRASHED",
    message,
    details: { engineId: engine.engineId, actorId: engine.actorId, ...(cause && { kind: cause.kind }) },
    where,
    cause: context.underlying,
  });
}

function whereOf(engine: DeadEngine, cause: DeathCause | undefined): Where {
  const pid = cause?.pid ?? engine.pid;
  const logPath = cause?.logPath ?? engine.logPath;
  return {
    node: engine.nodeId,
    process: engine.engineId,
    actor: engine.actorId,
    ...(pid !== undefined && { pid }),
    ...(cause?.exitCode !== undefined && { exitCode: cause.exitCode }),
    ...(cause?.signal !== undefined && { signal: cause.signal }),
    ...(cause?.stderrTail !== undefined && { stderrTail: cause.stderrTail }),
    ...(logPath !== undefined && { logPath }),
  };
}

function ending(where: Where, cause: DeathCause | undefined): string {
  if (cause?.kind === "OUT_OF_MEMORY") return `signal ${where.signal}, by the kernel, for want of memory`;
  if (where.signal !== undefined) return `signal ${where.signal}`;
  if (where.exitCode !== undefined) return `exit code ${where.exitCode}`;
  return cause?.message ?? "its raylet has not told why yet";
}
