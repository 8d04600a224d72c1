import { type Where, WhiprayError } from "./errors.ts";
import { ERROR_CLASSES, RayTaskError } from "./ray-errors.ts";

/** An error as it crosses a process boundary: plain fields only, each cut at a limit. */
export interface ErrorWire {
  /** Class name: one of `ERROR_CLASSES`, else the name of a user's class. */
  name: string;
  code: string;
  message: string;
  retryable?: boolean;
  details?: Record<string, unknown>;
  where?: Where;
  /** Stack or traceback where it was raised. */
  stack?: string;
  cause?: ErrorWire;
}

/** Characters of an error's message that cross the wire; the rest is cut with a mark (reliability B44, Ray 512 KiB). */
export const ERROR_TEXT_LIMIT = 131_072;
/** Length of a chain of causes that crosses the wire. */
export const ERROR_CAUSE_LIMIT = 8;

/** Plain form of any thrown value. A foreign error becomes code `TASK_FAILED` with its own class name. */
export function errorToWire(thrown: unknown, depth = 0): ErrorWire {
  if (!(thrown instanceof Error)) return { name: "Error", code: "TASK_FAILED", message: cut(describe(thrown)) };
  const wire: ErrorWire =
    thrown instanceof WhiprayError
      ? ownFields(thrown)
      : { name: text(thrown.name, "Error"), code: "TASK_FAILED", message: cut(text(thrown.message, "")) };
  const stack = thrown instanceof RayTaskError && thrown.remoteStack ? thrown.remoteStack : thrown.stack;
  if (typeof stack === "string") wire.stack = cut(stack);
  if (thrown.cause !== undefined && thrown.cause !== null && depth < ERROR_CAUSE_LIMIT) {
    wire.cause = errorToWire(thrown.cause, depth + 1);
  }
  return wire;
}

function ownFields(error: WhiprayError): ErrorWire {
  const wire: ErrorWire = {
    name: error instanceof RayTaskError ? error.remoteName : error.name,
    code: error.code,
    message: cut(error.message),
  };
  if (error.retryable) wire.retryable = true;
  if (Object.keys(error.details).length > 0) wire.details = error.details;
  if (error.where) wire.where = error.where;
  return wire;
}

/** What user code threw, with the place where it did, unless an inner process has told of one already (design.md, promise 7). */
export function raisedAt(thrown: unknown, where: Where): WhiprayError {
  const error = thrown instanceof WhiprayError ? thrown : errorFromWire(errorToWire(thrown));
  return error.where ? error : error.at(where);
}

/** The error again: of its own class when that is one of ours, else a RayTaskError with the remote name and stack. */
export function errorFromWire(wire: ErrorWire): WhiprayError {
  const cause = wire.cause === undefined ? undefined : errorFromWire(wire.cause);
  const init = {
    code: text(wire.code, "INTERNAL"),
    message: text(wire.message, "(no message)"),
    retryable: wire.retryable === true,
    details: plainObject(wire.details),
    where: plainObject(wire.where) as Where | undefined,
    cause,
  };
  const cls = Object.hasOwn(ERROR_CLASSES, wire.name) ? ERROR_CLASSES[wire.name] : undefined;
  if (cls && cls !== RayTaskError) return new cls(init);
  return new RayTaskError({ ...init, remoteName: text(wire.name, "Error"), remoteStack: text(wire.stack, "") });
}

function plainObject(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function text(value: unknown, fallback: string): string {
  return typeof value === "string" ? value.toWellFormed() : fallback;
}

// A lone surrogate, the user's or one that the cut makes, could not travel as UTF-8.
function cut(value: string): string {
  if (value.length <= ERROR_TEXT_LIMIT) return value.toWellFormed();
  return `${value.slice(0, ERROR_TEXT_LIMIT).toWellFormed()}… [cut, ${value.length} characters]`;
}

function describe(value: unknown): string {
  try {
    return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  } catch {
    return Object.prototype.toString.call(value);
  }
}
