import { WhiprayError, type WhiprayErrorInit } from "@whipray/core";

type Extra = Pick<WhiprayErrorInit, "cause" | "where" | "details"> & { code?: string };

/** Base of the scheduler's errors (AReaL: `areal/infra/scheduler/exceptions.py`). Attributes have AReaL's names in camelCase. */
export class SchedulerError extends WhiprayError {
  static override readonly className: string = "SchedulerError";
}

/** Workers of a role could not be created; nothing of them is left. Code `WORKER_CREATION`. */
export class WorkerCreationError extends SchedulerError {
  static override readonly className: string = "WorkerCreationError";
  readonly workerKey: string;
  readonly reason: string;
  /** What the runtime said. */
  readonly explanation: string;
  constructor(workerKey: string, reason: string, explanation = "", extra: Extra = {}) {
    const rest = explanation ? `; ${explanation}` : "";
    super({ code: "WORKER_CREATION", message: `Failed to create worker '${workerKey}': ${reason}${rest}`, ...extra });
    this.workerKey = workerKey;
    this.reason = reason;
    this.explanation = explanation;
  }
}

/** A worker took no configuration. Code `WORKER_CONFIGURATION`. */
export class WorkerConfigurationError extends SchedulerError {
  static override readonly className: string = "WorkerConfigurationError";
  readonly workerKey: string;
  readonly reason: string;
  constructor(workerKey: string, reason: string, extra: Extra = {}) {
    super({ code: "WORKER_CONFIGURATION", message: `Failed to configure worker '${workerKey}': ${reason}`, ...extra });
    this.workerKey = workerKey;
    this.reason = reason;
  }
}

/** A worker's process is gone. Code `WORKER_FAILED`. */
export class WorkerFailedError extends SchedulerError {
  static override readonly className: string = "WorkerFailedError";
  readonly workerId: string;
  /** Exit code; minus the signal's number when one ended it (as Python's `returncode`); −1 when nobody knows. */
  readonly exitCode: number;
  /** Last lines of stderr. */
  readonly stderr: string;
  constructor(workerId: string, exitCode: number, stderr = "", extra: Extra & { reason?: string } = {}) {
    const { reason, ...rest } = extra;
    const text = `Worker '${workerId}' failed with exit code ${exitCode}${reason ? `: ${reason}` : ""}`;
    const told = stderr === "" || reason?.includes(stderr.slice(stderr.lastIndexOf("\n") + 1));
    super({ code: "WORKER_FAILED", message: told ? text : `${text}\nstderr:\n${stderr}`, ...rest });
    this.workerId = workerId;
    this.exitCode = exitCode;
    this.stderr = stderr;
  }
}

/** No worker or role of this name. Code `WORKER_NOT_FOUND`. */
export class WorkerNotFoundError extends SchedulerError {
  static override readonly className: string = "WorkerNotFoundError";
  readonly workerId: string;
  constructor(workerId: string, known: readonly string[] = []) {
    const names = known.length > 0 ? `; there are ${known.slice(0, 20).join(", ")}` : "";
    super({ code: "WORKER_NOT_FOUND", message: `Worker '${workerId.slice(0, 256)}' not found${names}` });
    this.workerId = workerId;
  }
}

/** Workers were not ready in time; they go on starting. Code `WORKER_TIMEOUT`. */
export class WorkerTimeoutError extends SchedulerError {
  static override readonly className: string = "WorkerTimeoutError";
  readonly workerKey: string;
  readonly timeoutMs: number;
  constructor(workerKey: string, timeoutMs: number, extra: Extra & { reason?: string } = {}) {
    const { reason, ...rest } = extra;
    const why = reason ? `: ${reason}` : "";
    super({
      code: "WORKER_TIMEOUT",
      message: `Worker '${workerKey}' was not ready within ${timeoutMs} ms${why}`,
      ...rest,
    });
    this.workerKey = workerKey;
    this.timeoutMs = timeoutMs;
  }
}

/** An engine could not be made. Code `ENGINE_CREATION`. */
export class EngineCreationError extends SchedulerError {
  static override readonly className: string = "EngineCreationError";
  readonly workerId: string;
  readonly reason: string;
  /** AReaL's HTTP status: 400 for a bad request, 500 when the constructor raised. */
  readonly statusCode: number | undefined;
  constructor(workerId: string, reason: string, statusCode?: number, extra: Extra = {}) {
    const status = statusCode === undefined ? "" : ` (status ${statusCode})`;
    super({
      code: "ENGINE_CREATION",
      message: `Failed to create engine on worker '${workerId}'${status}: ${reason}`,
      ...extra,
    });
    this.workerId = workerId;
    this.reason = reason;
    this.statusCode = statusCode;
  }
}

/** The engine's class could not be imported: code `ENGINE_IMPORT`; or its module is not there what it is here: `CODE_MISMATCH`. */
export class EngineImportError extends SchedulerError {
  static override readonly className: string = "EngineImportError";
  readonly importPath: string;
  readonly reason: string;
  constructor(importPath: string, reason: string, extra: Extra = {}) {
    super({ code: "ENGINE_IMPORT", message: `Failed to import engine '${importPath}': ${reason}`, ...extra });
    this.importPath = importPath;
    this.reason = reason;
  }
}

/** A call of an engine failed. `cause` is the engine's own error with its class, message and traceback. Code `ENGINE_CALL`. */
export class EngineCallError extends SchedulerError {
  static override readonly className: string = "EngineCallError";
  readonly workerId: string;
  readonly method: string;
  readonly reason: string;
  /** Number of the try that failed, from 1. */
  readonly attempt: number;
  constructor(workerId: string, method: string, reason: string, attempt = 1, extra: Extra = {}) {
    super({
      code: "ENGINE_CALL",
      message: `Engine call '${method}' on worker '${workerId}' failed (attempt ${attempt}): ${reason}`,
      ...extra,
    });
    this.workerId = workerId;
    this.method = method;
    this.reason = reason;
    this.attempt = attempt;
  }
}

/** No ports are left. Code `PORT_ALLOCATION`. */
export class PortAllocationError extends SchedulerError {
  static override readonly className: string = "PortAllocationError";
  readonly reason: string;
  constructor(reason: string, extra: Extra = {}) {
    super({ code: "PORT_ALLOCATION", message: `Port allocation failed: ${reason}`, ...extra });
    this.reason = reason;
  }
}

/** A worker asks for more devices than a node has. Code `GPU_ALLOCATION`. */
export class GPUAllocationError extends SchedulerError {
  static override readonly className: string = "GPUAllocationError";
  readonly reason: string;
  constructor(reason: string, extra: Extra = {}) {
    super({ code: "GPU_ALLOCATION", message: `GPU allocation failed: ${reason}`, ...extra });
    this.reason = reason;
  }
}

/** A worker could not be reached, though it is not known to be dead. Code `RPC_CONNECTION`. */
export class RPCConnectionError extends SchedulerError {
  static override readonly className: string = "RPCConnectionError";
  readonly workerId: string;
  /** Its node. */
  readonly host: string;
  /** 0: calls need no port of their own. */
  readonly port: number;
  readonly reason: string;
  constructor(workerId: string, host: string, port: number, reason: string, extra: Extra = {}) {
    super({
      code: "RPC_CONNECTION",
      message: `Failed to connect to worker '${workerId}' at ${port === 0 ? host : `${host}:${port}`}: ${reason}`,
      ...extra,
    });
    this.workerId = workerId;
    this.host = host;
    this.port = port;
    this.reason = reason;
  }
}

/** A tensor that was to stay on its engine is not there any more. Code `RTENSOR_LOST`; `cause` tells what became of it. */
export class RTensorError extends SchedulerError {
  static override readonly className: string = "RTensorError";
  /** Worker that had it. */
  readonly workerId: string;
  readonly tensorIds: readonly string[];
  readonly reason: string;
  constructor(workerId: string, tensorIds: readonly string[], reason: string, extra: Extra = {}) {
    const shown = tensorIds.slice(0, 8).join(", ") + (tensorIds.length > 8 ? `, … (${tensorIds.length})` : "");
    super({
      code: "RTENSOR_LOST",
      message: `Tensor ${shown} of worker '${workerId}' cannot be had: ${reason}`,
      ...extra,
    });
    this.workerId = workerId;
    this.tensorIds = tensorIds;
    this.reason = reason;
  }
}

/** A request that is wrong in itself (Python: ValueError). Code `INVALID_ARGUMENT`. */
export function invalid(message: string, details?: Record<string, unknown>): SchedulerError {
  return new SchedulerError({ code: "INVALID_ARGUMENT", message, details });
}
