import { anything, bool, count, type Infer, id, list, method, oneOf, optional, record, shape, str } from "../fields.ts";
import { bundleIndexField } from "./group.ts";
import { deviceGrantField, labelsField, selectorsField, unitsField } from "./resources.ts";
import { runtimeEnvField, workingCopyField } from "./runtime-env.ts";

/** Code of a task that waited in a worker whose running task waits itself: its caller takes it elsewhere, and it never ran. */
export const TASK_RETURNED = "TASK_RETURNED";

const taskLeaseField = shape({
  /** `node/worker` */
  address: str(256),
  inc: id("inc"),
  /** Its unix socket; only meaningful on its node. */
  socket: str(512),
  pid: count(),
  devices: list(deviceGrantField),
});
export type TaskLease = Infer<typeof taskLeaseField>;

/** The raylet to ask instead. */
const elsewhereField = shape({
  nodeId: id("node"),
  url: optional(str(512)),
  socket: optional(str(512)),
  pidNamespace: optional(str(128)),
  /** The request may wait there; else it is granted at once or refused (`passedOn`). */
  wait: bool,
});
export type TaskElsewhere = Infer<typeof elsewhereField>;

/**
 * driver or worker → raylet: a worker process with these resources, for tasks. The reply comes when there is one, here or likely
 * elsewhere; a cancel withdraws the request. Idempotent by `leaseId`. The lease ends by `task.release`, with its caller's session, and with
 * the worker.
 */
export const taskLease = method(
  "task.lease",
  shape({
    leaseId: id("lease"),
    jobId: id("job"),
    namespace: str(128),
    units: unitsField,
    pgId: optional(id("pg")),
    bundleIndex: bundleIndexField,
    env: record(str(1_048_576), 4_096),
    /** What the node makes before the worker starts: one runs tasks of one environment only. */
    runtimeEnv: optional(runtimeEnvField),
    isolation: oneOf("env", "none"),
    /** Only nodes with these labels; the fallbacks in their order where none of them has room. */
    labels: optional(labelsField),
    fallback: optional(selectorsField),
    /** Only this node; with `nodeSoft` another one when this is dead or can never hold it. */
    nodeId: optional(id("node")),
    nodeSoft: optional(bool),
    /** Over all nodes in turn (Ray: SPREAD); else hybrid. */
    spread: optional(bool),
    /** Another raylet sent the caller here: granted at once, or refused with `NODE_BUSY`. */
    passedOn: optional(bool),
  }),
  shape({ lease: optional(taskLeaseField), elsewhere: optional(elsewhereField) }),
);
export type TaskLeaseAsk = Infer<(typeof taskLease)["request"]>;
export type TaskLeaseAnswer = Infer<(typeof taskLease)["reply"]>;
/** The caller needs it no more; nothing of its own runs there. `end`: nobody is to have the process after it. */
export const taskRelease = method("task.release", shape({ leaseId: id("lease"), end: optional(bool) }), anything);
/** Why does this request wait? Absent: it does not. */
export const taskWaiting = method(
  "task.waiting",
  shape({ leaseId: id("lease") }),
  shape({ reason: optional(str(1_024)) }),
);

/** raylet → worker: run tasks of this job. Environment is set before the first import. */
export const taskHost = method(
  "task.host",
  shape({
    jobId: id("job"),
    namespace: str(128),
    devices: list(deviceGrantField),
    env: record(str(1_048_576), 4_096),
    /** What its own tasks and actors inherit. */
    runtimeEnv: optional(runtimeEnvField),
    /** It is the working directory, and modules that the node lacks are loaded from there. */
    workingCopy: optional(workingCopyField),
    /** What a task needs to reach the cluster itself. */
    head: str(512),
  }),
  anything,
);
/** Refs that one call of a task may give. */
export const NUM_RETURNS_LIMIT = 10_000;

/** Id of a task that the process `incarnation` made as its `number`th, in base 36. */
export function taskIdOf(incarnation: string, number: string): string {
  return `task_${incarnation.slice(incarnation.indexOf("_") + 1)}${number}`;
}

/**
 * caller → worker, once a session and function: a later call's method is `fnId:number:name`, with the number of the task in its caller. The module
 * is imported by then.
 */
export const taskDefine = method(
  "task.define",
  shape({
    fnId: str(64),
    /** Absolute file URL on the node, and the export that is the function. */
    module: str(4_096),
    exportName: str(256),
    /** SHA-256 (hex) of the module file where the caller is: a node where it differs answers CODE_MISMATCH. */
    codeHash: optional(str(64)),
    /** The same of what it imports by relative paths, shortened: `moduleCode` of @whipray/worker. */
    importHashes: optional(list(str(16), 255)),
    name: str(256),
    /** More than one: its result is a list of so many, each an object of its own. */
    numReturns: optional(count(NUM_RETURNS_LIMIT)),
    /** What its workers have, and where: what the running code is told of itself. */
    units: unitsField,
    pgId: optional(id("pg")),
    captureChildTasks: optional(bool),
  }),
  anything,
);
export type TaskFunction = Infer<(typeof taskDefine)["request"]>;
/** worker → raylet: its running task waits for a result of others (its CPUs are free meanwhile), or goes on. */
export const taskBlocked = method("task.blocked", shape({ blocked: bool }), anything);
/** caller → raylet: the worker of this lease is killed, whatever runs there (Ray: `cancel(force=True)`). */
export const taskKill = method("task.kill", shape({ leaseId: id("lease") }), anything);
