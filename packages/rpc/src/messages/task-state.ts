import { anything, count, type Infer, id, list, method, oneOf, optional, shape, str } from "../fields.ts";

/** Rows of one report; a caller that makes more tasks a second leaves finished ones out. */
export const TASK_REPORT_LIMIT = 1_000;

/** Of Ray's states those that a task has here. RUNNING: given to a worker. */
const taskStateField = oneOf("PENDING_NODE_ASSIGNMENT", "RUNNING", "FINISHED", "FAILED");
export type TaskState = Infer<typeof taskStateField>;

/** Ray's words: a remote function, or a call of an actor's method. */
const taskTypeField = oneOf("NORMAL_TASK", "ACTOR_TASK");

const taskRowField = shape({
  taskId: id("task"),
  jobId: id("job"),
  /** Of the task; of a call `Class.method`. */
  name: str(256),
  type: taskTypeField,
  /** Whose method it calls. */
  actorId: optional(id("actor")),
  state: taskStateField,
  /** From 0; grows when it runs again. */
  attempt: count(),
  /** The task that made it. */
  parentTaskId: optional(id("task")),
  nodeId: optional(id("node")),
  /** `node/worker` that it was given to last. */
  worker: optional(str(256)),
  /** Code and message of what it failed with. */
  error: optional(str(1_024)),
  /** Wall clock, milliseconds. */
  createdMs: count(),
  startedMs: optional(count()),
  endedMs: optional(count()),
});
/** One task as `listTasks()` shows it. */
export type TaskRow = Infer<typeof taskRowField>;

/** driver or worker → head, once a second: its tasks that changed. `left` is how many more did and are not told. */
export const tasksReport = method(
  "tasks.report",
  shape({ rows: list(taskRowField, TASK_REPORT_LIMIT), left: count() }),
  anything,
);

/** anybody → head: those that match all that is named, the living first, then the latest. */
export const tasksList = method(
  "tasks.list",
  shape({
    jobId: optional(id("job")),
    taskId: optional(id("task")),
    parentTaskId: optional(id("task")),
    nodeId: optional(id("node")),
    actorId: optional(id("actor")),
    name: optional(str(256)),
    type: optional(taskTypeField),
    state: optional(taskStateField),
    limit: count(10_000),
  }),
  /** `total` match; `left` were never told to the head. */
  shape({ tasks: list(taskRowField), total: count(), left: count() }),
);
export type TaskFilter = Omit<Infer<(typeof tasksList)["request"]>, "limit">;
