import { AsyncLocalStorage } from "node:async_hooks";
import { WhiprayError } from "@whipray/core";
import type { ActorSpec, CallCanceller, DeviceGrant, Endpoint, Peer, RuntimeEnvSpec, WorkingCopy } from "@whipray/rpc";
import { type Child, Children } from "./children.ts";
import type { ObjectAccess } from "./object-access.ts";
import { RunningTask } from "./running-task.ts";
import type { TaskWaits } from "./task-waits.ts";

/** What code in a worker can know of its place (Ray: `get_runtime_context()`). */
export interface WorkerContext {
  readonly nodeId: string;
  readonly workerId: string;
  readonly cluster: string;
  readonly jobId: string;
  readonly namespace: string;
  /** Devices of its lease. */
  readonly devices: readonly DeviceGrant[];
  /** This process on the wire, and its raylet: for code that builds on them, such as engine launchers. */
  readonly endpoint: Endpoint;
  readonly raylet: Peer;
  /** Where large values lie. */
  readonly objects: ObjectAccess;
  /** URL of the head. */
  readonly head: string;
  /** What its node made for it, which its own tasks and actors inherit. */
  readonly runtimeEnv?: RuntimeEnvSpec | undefined;
  /** The copy of its working directory. */
  readonly workingCopy?: WorkingCopy | undefined;
  /** Unix socket that this worker listens on. */
  readonly socket: string;
}

/** As code that runs in an actor sees it. */
export interface ActorContext extends WorkerContext {
  readonly actorId: string;
  /** Grows with each restart of the actor. */
  readonly epoch: number;
  readonly spec: ActorSpec;
  /** Lets an engine with this token dial us; returns the undo. */
  expectEngine(engineId: string, tokenDigest: string, onLink: () => void): () => void;
}

/** As code that runs in a task sees it. */
export interface TaskContext extends WorkerContext {
  /** The code waits for a result of others. */
  readonly waits: TaskWaits;
}

/** The call that the running code belongs to. */
export interface CallContext {
  readonly method: string;
  /** Aborted when the caller cancels, its deadline passes, or it is gone. */
  readonly signal: AbortSignal;
}

// By Symbol.for: a second copy of this package in the same process finds the same actor.
const SLOT = Symbol.for("whipray.worker.context");
const calls = new AsyncLocalStorage<CallContext & Partial<CallCanceller>>();
/** Of the calls of actors' methods that made any. */
const childrenOf = new WeakMap<object, Children>();

export function setContext(context: ActorContext | TaskContext): void {
  (globalThis as { [SLOT]?: ActorContext | TaskContext })[SLOT] = context;
}

/** The worker that this is, undefined in a driver. */
export function workerContext(): ActorContext | TaskContext | undefined {
  return (globalThis as { [SLOT]?: ActorContext | TaskContext })[SLOT];
}

/** The actor that this process hosts, undefined elsewhere. */
export function actorContext(): ActorContext | undefined {
  const context = workerContext();
  return context && "actorId" in context ? context : undefined;
}

/** @throws WhiprayError `NOT_IN_ACTOR` outside of an actor. */
export function requireActorContext(): ActorContext {
  const context = actorContext();
  if (!context) throw new WhiprayError({ code: "NOT_IN_ACTOR", message: "This is only possible inside an actor" });
  return context;
}

/** The task that runs now, undefined outside of one. */
export function taskContext(): RunningTask | undefined {
  const call = calls.getStore();
  return call instanceof RunningTask ? call : undefined;
}

/** The call that runs now, undefined outside of a task or an actor's method. */
export function callContext(): CallContext | undefined {
  return calls.getStore();
}

/** `child` is cancelled when the call that runs now is. Returns the undo; undefined outside of a call. */
export function cancelledWithCall(child: Child): (() => void) | undefined {
  const call = calls.getStore();
  if (call instanceof RunningTask) return call.children.add(child);
  if (!call?.onAbort) return undefined;
  const children = childrenOf.get(call) ?? new Children(call as CallCanceller);
  childrenOf.set(call, children);
  return children.add(child);
}

export function runInCall<Args extends unknown[], T>(
  context: CallContext,
  run: (...args: Args) => T,
  ...args: Args
): T {
  return calls.run(context, run, ...args);
}
