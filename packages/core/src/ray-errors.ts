import { WhiprayError, type WhiprayErrorInit } from "./errors.ts";

type Init = Omit<WhiprayErrorInit, "code"> & { code?: string };

/** Base of every error under one of Ray's names (Ray: `exceptions.py`, `RayError`). */
export class RayError extends WhiprayError {
  static override readonly className: string = "RayError";
}

/** User code raised. `remoteName` is the class it raised there; `cause` the error as far as it could be rebuilt. */
export class RayTaskError extends RayError {
  static override readonly className: string = "RayTaskError";
  readonly remoteName: string;
  /** Stack or traceback of the process where it was raised. `stack` shows it: the frames that received it say nothing to anybody. */
  declare readonly remoteStack: string;
  constructor(init: Init & { remoteName?: string; remoteStack?: string }) {
    super({ code: "TASK_FAILED", ...init });
    this.remoteName = init.remoteName ?? "Error";
    const value = init.remoteStack ?? "";
    // Not enumerable: who prints the error sees it once, as its stack.
    Object.defineProperty(this, "remoteStack", { value });
    if (value !== "") this.stack = `${this.name}: ${value}`;
  }
}

/** The actor could not be called. */
export class RayActorError extends RayError {
  static override readonly className: string = "RayActorError";
}

/** Dead for good: later calls fail too. `details` has actorId, actorInitFailed and the cause of death. */
export class ActorDiedError extends RayActorError {
  static override readonly className: string = "ActorDiedError";
  constructor(init: Init) {
    super({ code: "ACTOR_DIED", ...init });
  }
}

/** A device of the actor is gone or unhealthy (reliability F34); the message names it and the reason. */
export class DeviceLostError extends ActorDiedError {
  static override readonly className: string = "DeviceLostError";
  constructor(init: Init) {
    super({ code: "DEVICE_LOST", ...init });
  }
}

/** Temporarily out of reach; the call may or may not have run. */
export class ActorUnavailableError extends RayActorError {
  static override readonly className: string = "ActorUnavailableError";
  constructor(init: Init) {
    super({ code: "ACTOR_UNAVAILABLE", ...init });
  }
}

/** The name is taken in this namespace (Ray: also a ValueError). */
export class ActorAlreadyExistsError extends RayError {
  static override readonly className: string = "ActorAlreadyExistsError";
  constructor(init: Init) {
    super({ code: "NAME_TAKEN", ...init });
  }
}

/** A handle has `maxPendingCalls` calls without an answer; this one was not sent. Wait for some of them. */
export class PendingCallsLimitExceeded extends RayError {
  static override readonly className: string = "PendingCallsLimitExceeded";
  constructor(init: Init) {
    super({ code: "PENDING_CALLS_LIMIT", retryable: true, ...init });
  }
}

/** The handle belongs to another cluster, or to a connection that has ended (Ray: also a ValueError). */
export class ActorHandleNotFoundError extends RayError {
  static override readonly className: string = "ActorHandleNotFoundError";
  constructor(init: Init) {
    super({ code: "ACTOR_HANDLE_NOT_FOUND", ...init });
  }
}

/** No node can ever take the actor as asked. */
export class ActorUnschedulableError extends RayError {
  static override readonly className: string = "ActorUnschedulableError";
  constructor(init: Init) {
    super({ code: "UNSCHEDULABLE", ...init });
  }
}

/** No node can ever take the task as asked. */
export class TaskUnschedulableError extends RayError {
  static override readonly className: string = "TaskUnschedulableError";
  constructor(init: Init) {
    super({ code: "UNSCHEDULABLE", ...init });
  }
}

/** The placement group of the task was removed before it ran. */
export class TaskPlacementGroupRemoved extends RayError {
  static override readonly className: string = "TaskPlacementGroupRemoved";
  constructor(init: Init) {
    super({ code: "PLACEMENT_GROUP_REMOVED", ...init });
  }
}

/** The placement group of the actor was removed before the actor was placed. */
export class ActorPlacementGroupRemoved extends RayError {
  static override readonly className: string = "ActorPlacementGroupRemoved";
  constructor(init: Init) {
    super({ code: "PLACEMENT_GROUP_REMOVED", ...init });
  }
}

/** The call was cancelled. */
export class TaskCancelledError extends RayError {
  static override readonly className: string = "TaskCancelledError";
  constructor(init: Init) {
    super({ code: "CANCELLED", ...init });
  }
}

/** A worker or engine process ended while it ran the call. */
export class WorkerCrashedError extends RayError {
  static override readonly className: string = "WorkerCrashedError";
  constructor(init: Init) {
    super({ code: "WORKER_CRASHED", ...init });
  }
}

/** The kernel ended a worker or engine process for want of memory. */
export class OutOfMemoryError extends WorkerCrashedError {
  static override readonly className: string = "OutOfMemoryError";
  constructor(init: Init) {
    super({ code: "OUT_OF_MEMORY", ...init });
  }
}

/** The runtime environment could not be made on the node; `cause` says what failed. */
export class RuntimeEnvSetupError extends RayError {
  static override readonly className: string = "RuntimeEnvSetupError";
  constructor(init: Init) {
    super({ code: "RUNTIME_ENV_SETUP_FAILED", ...init });
  }
}

/** The machine was declared dead. */
export class NodeDiedError extends RayError {
  static override readonly className: string = "NodeDiedError";
  constructor(init: Init) {
    super({ code: "NODE_DIED", ...init });
  }
}

/** A `get` or another wait ran out of time. The work goes on. */
export class GetTimeoutError extends RayError {
  static override readonly className: string = "GetTimeoutError";
  constructor(init: Init) {
    super({ code: "TIMEOUT", ...init });
  }
}

/** The bytes of an object are gone. */
export class ObjectLostError extends RayError {
  static override readonly className: string = "ObjectLostError";
  constructor(init: Init) {
    super({ code: "OBJECT_LOST", ...init });
  }
}

/** Its owner gave it up: a ref that was disposed. */
export class ObjectFreedError extends ObjectLostError {
  static override readonly className: string = "ObjectFreedError";
  constructor(init: Init) {
    super({ code: "OBJECT_FREED", ...init });
  }
}

/** The owner of an object is gone, and its objects with it. */
export class OwnerDiedError extends ObjectLostError {
  static override readonly className: string = "OwnerDiedError";
  constructor(init: Init) {
    super({ code: "OWNER_DIED", ...init });
  }
}

/** No room in the node's object store, and nothing in it that can be spilled. `details.holders` names who pins what. */
export class ObjectStoreFullError extends RayError {
  static override readonly className: string = "ObjectStoreFullError";
  constructor(init: Init) {
    super({ code: "OBJECT_STORE_FULL", ...init });
  }
}

/** The object store would have to spill, but its quota or the disk is used up. */
export class OutOfDiskError extends RayError {
  static override readonly className: string = "OutOfDiskError";
  constructor(init: Init) {
    super({ code: "OUT_OF_DISK", ...init });
  }
}

/**
 * The receiver restarted, or lost its record, after the call was sent: it may or may not have run, and is never sent
 * again silently (design.md, mechanism 2).
 */
export class OutcomeUnknownError extends RayError {
  static override readonly className: string = "OutcomeUnknownError";
  constructor(init: Init) {
    super({ code: "OUTCOME_UNKNOWN", ...init });
  }
}

/** The token is missing, or is none of this cluster's for this role. */
export class AuthenticationError extends RayError {
  static override readonly className: string = "AuthenticationError";
  constructor(init: Init) {
    super({ code: "UNAUTHENTICATED", ...init });
  }
}

/** Classes by the name that crosses the wire. */
export const ERROR_CLASSES: Readonly<Record<string, new (init: WhiprayErrorInit) => WhiprayError>> = {
  WhiprayError,
  RayError,
  RayTaskError,
  RayActorError,
  ActorDiedError,
  ActorUnavailableError,
  ActorAlreadyExistsError,
  ActorHandleNotFoundError,
  ActorUnschedulableError,
  ActorPlacementGroupRemoved,
  PendingCallsLimitExceeded,
  TaskCancelledError,
  TaskPlacementGroupRemoved,
  TaskUnschedulableError,
  WorkerCrashedError,
  OutOfMemoryError,
  DeviceLostError,
  NodeDiedError,
  GetTimeoutError,
  AuthenticationError,
  ObjectLostError,
  ObjectFreedError,
  ObjectStoreFullError,
  OutOfDiskError,
  OwnerDiedError,
  OutcomeUnknownError,
  RuntimeEnvSetupError,
};
