import { constants } from "node:os";
import {
  ActorDiedError,
  asWhiprayError,
  NodeDiedError,
  RayTaskError,
  TaskCancelledError,
  type WhiprayError,
  WorkerCrashedError,
} from "@whipray/core";
import {
  EngineCallError,
  EngineCreationError,
  EngineImportError,
  RPCConnectionError,
  type SchedulerError,
  WorkerFailedError,
} from "./errors.ts";

/** Lines of stderr that an error carries. */
const SHOWN_LINES = 50;
const BAD_REQUEST = new Set(["INVALID_ARGUMENT", "ENGINE_EXISTS", "NOT_SERIALISABLE", "RANGE", "INVALID_ENV"]);
const NOT_REACHED = new Set(["UNREACHABLE", "NO_ROUTE", "ACTOR_UNAVAILABLE"]);

/** The worker, or its engine, is gone (while `method` ran): with exit code or signal, and the last lines. Undefined for any other failure. */
export function deathOf(workerId: string, error: unknown, method?: string): WorkerFailedError | undefined {
  const dead = error instanceof ActorDiedError || error instanceof WorkerCrashedError || error instanceof NodeDiedError;
  if (!dead) return undefined;
  const tail = error.where?.stderrTail?.slice(-SHOWN_LINES).join("\n") ?? "";
  return new WorkerFailedError(workerId, exitCodeOf(error), tail, {
    reason: method === undefined ? error.message : `engine call '${method}': ${error.message}`,
    where: error.where,
    cause: error,
  });
}

/** The worker could not be reached, though nobody says that it is dead. Undefined for any other failure. */
export function unreachedOf(workerId: string, host: string, error: unknown): RPCConnectionError | undefined {
  const failure = asWhiprayError(error);
  if (!NOT_REACHED.has(failure.code)) return undefined;
  return new RPCConnectionError(workerId, host, 0, failure.message, { cause: failure, where: failure.where });
}

/** As Python's `returncode`: minus the number of the signal; −1 when nobody knows. */
function exitCodeOf({ where }: WhiprayError): number {
  if (where?.exitCode !== undefined) return where.exitCode;
  const number = where?.signal === undefined ? undefined : (constants.signals as Record<string, number>)[where.signal];
  return number === undefined ? -1 : -number;
}

/** A failed call as the scheduler's callers see it (areal 6.16). A cancel by the caller stays what it is. */
export function callFailure(workerId: string, method: string, error: unknown, attempt: number): WhiprayError {
  if (error instanceof TaskCancelledError) return error;
  const failure = asWhiprayError(error);
  return (
    deathOf(workerId, failure, method) ??
    new EngineCallError(workerId, method, reasonOf(failure), attempt, {
      cause: failure,
      where: failure.where,
      details: { code: failure.code, ...failure.details },
    })
  );
}

/** What an engine raised is told with its class: the text of `KeyError('loss')` alone is `'loss'`. */
function reasonOf(failure: WhiprayError): string {
  const { message } = failure;
  if (!(failure instanceof RayTaskError) || message.startsWith(failure.remoteName)) return message;
  return `${failure.remoteName}: ${message}`;
}

/** A failed creation of an engine (areal 6.15). */
export function creationFailure(
  workerId: string,
  importPath: string,
  host: string,
  error: unknown,
): SchedulerError | TaskCancelledError {
  if (error instanceof TaskCancelledError) return error;
  const failure = asWhiprayError(error);
  const { code, details } = failure;
  const extra = { cause: failure, where: failure.where };
  const died = deathOf(workerId, failure);
  if (died) return died;
  if (code === "ENGINE_IMPORT") return new EngineImportError(importPath, failure.message, extra);
  if (code === "CODE_MISMATCH") return new EngineImportError(importPath, failure.message, { ...extra, code, details });
  const unreached = unreachedOf(workerId, host, failure);
  if (unreached) return unreached;
  const status = code === "ENGINE_CREATION" ? 500 : BAD_REQUEST.has(code) ? 400 : undefined;
  return new EngineCreationError(workerId, failure.message, status, extra);
}
