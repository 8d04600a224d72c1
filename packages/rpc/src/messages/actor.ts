import {
  anything,
  bool,
  bytes,
  count,
  type Infer,
  id,
  integer,
  list,
  method,
  oneOf,
  optional,
  record,
  shape,
  str,
} from "../fields.ts";
import { bundleIndexField } from "./group.ts";
import {
  deviceGrantField,
  labelsField,
  linkRuleField,
  nodeViewField,
  selectorsField,
  unitsField,
} from "./resources.ts";
import { runtimeEnvField } from "./runtime-env.ts";

/** Constructor arguments ride in the actor's creation, up to this many bytes. */
export const ACTOR_ARGS_LIMIT_BYTES = 10_485_760;

export const actorStateField = oneOf("DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD");
export type ActorState = Infer<typeof actorStateField>;

/** Why an actor ended (Ray: ActorDeathCause). */
export const deathCauseField = shape({
  kind: oneOf(
    "WORKER_DIED",
    "OWNER_DIED",
    "NODE_DIED",
    "RAY_KILL",
    "OUT_OF_SCOPE",
    "CREATION_FAILED",
    "EXITED",
    "GROUP_REMOVED",
    "UNSCHEDULABLE",
    "DEVICE_LOST",
    "OUT_OF_MEMORY",
  ),
  message: str(8_192),
  exitCode: optional(integer(-1, 65_535)),
  signal: optional(str(32)),
  stderrTail: optional(list(str(4_096), 100)),
  logPath: optional(str(4_096)),
  pid: optional(count()),
  nodeId: optional(id("node")),
  /** ErrorWire of the constructor's error, when that is the cause. */
  error: optional(anything),
});
export type DeathCause = Infer<typeof deathCauseField>;

/** Limits of one actor's declarations: concurrency groups and methods with rules of their own. */
const CONCURRENCY_GROUPS_LIMIT = 64;
const METHOD_RULES_LIMIT = 1_024;

/** What holds for all calls of one method unless a call says otherwise (Ray: `@ray.method(…)`). */
export const methodRulesField = shape({
  concurrencyGroup: optional(str(64)),
  maxTaskRetries: optional(integer(-1, 1_000_000)),
  /** Class names of the errors that are retried; `*` is any. */
  retryExceptions: optional(list(str(256), 64)),
});
export type MethodRules = Infer<typeof methodRulesField>;

/** How an actor is to be made; what the head journals and a raylet starts. */
export const actorSpecField = shape({
  actorId: id("actor"),
  jobId: id("job"),
  name: optional(str(128)),
  namespace: str(128),
  detached: bool,
  /** Actor that made it; none when a driver did. */
  ownerActor: optional(id("actor")),
  className: str(256),
  /** Absolute file URL of the module on the node, and the export that is the class. */
  module: str(4_096),
  exportName: str(256),
  /** SHA-256 (hex) of the module file where it was created: a node where it differs answers CODE_MISMATCH. */
  codeHash: optional(str(64)),
  /** The same of what it imports by relative paths, shortened: `moduleCode` of @whipray/worker. */
  importHashes: optional(list(str(16), 255)),
  /** Parts of the constructor's arguments: part 0 is msgpack. */
  args: list(bytes(ACTOR_ARGS_LIMIT_BYTES), 64),
  /** Resources held for life. */
  units: unitsField,
  /** Resources needed to be placed (Ray: 1 CPU when nothing was asked for), at least `units`. */
  placementUnits: unitsField,
  pgId: optional(id("pg")),
  bundleIndex: bundleIndexField,
  captureChildTasks: bool,
  maxRestarts: integer(-1, 1_000_000),
  maxTaskRetries: integer(-1, 1_000_000),
  maxConcurrency: count(100_000),
  maxPendingCalls: integer(-1, 1_000_000),
  /** Calls at once of each named group; methods in none have `maxConcurrency`. */
  concurrencyGroups: optional(record(count(100_000), CONCURRENCY_GROUPS_LIMIT)),
  methods: optional(record(methodRulesField, METHOD_RULES_LIMIT)),
  env: record(str(1_048_576), 4_096),
  /** What its node makes before it starts. */
  runtimeEnv: optional(runtimeEnvField),
  isolation: oneOf("env", "none"),
  /** Ends where its node can reach neither the head nor another raylet (design.md, mechanism 5). Default false. */
  fence: optional(bool),
  /** Only nodes with these labels. */
  labels: optional(labelsField),
  /** Selectors that are tried in their order where no node that meets `labels` has room. */
  fallback: optional(selectorsField),
  /** Over the nodes in turn (Ray: SPREAD). */
  spread: optional(bool),
  /** How near its devices must be to each other. */
  links: optional(linkRuleField),
  /** Hard or soft node affinity. */
  nodeId: optional(id("node")),
  nodeSoft: optional(bool),
  graceMs: count(),
});
export type ActorSpec = Infer<typeof actorSpecField>;

/** driver or worker → head. The reply comes when it is journalled. `existing` when getIfExists found one. */
export const actorCreate = method(
  "actor.create",
  shape({ spec: actorSpecField, getIfExists: bool }),
  shape({ actorId: id("actor"), existing: bool }),
);

const actorRowField = shape({
  actorId: id("actor"),
  jobId: id("job"),
  name: optional(str(128)),
  namespace: str(128),
  detached: bool,
  className: str(256),
  state: actorStateField,
  epoch: count(),
  restarts: count(),
  maxTaskRetries: integer(-1, 1_000_000),
  /** Calls without an answer that one handle may have; −1 or absent: no bound. */
  maxPendingCalls: optional(integer(-1, 1_000_000)),
  methods: optional(record(methodRulesField, METHOD_RULES_LIMIT)),
  nodeId: optional(id("node")),
  /** `node/worker`, to OPEN a route to. */
  address: optional(str(256)),
  inc: optional(id("inc")),
  /** Unix socket of the worker; only meaningful on its node. */
  socket: optional(str(512)),
  /** URL of the node's raylet. */
  url: optional(str(512)),
  pid: optional(count()),
  pgId: optional(id("pg")),
  bundleIndex: optional(bundleIndexField),
  devices: list(deviceGrantField),
  /** Its devices as people read them: `2 × GPU 2-3: NV12, NUMA 0`. */
  choice: optional(str(512)),
  units: unitsField,
  death: optional(deathCauseField),
  /** Why it is not placed yet. */
  waiting: optional(str(2_048)),
});
/** One actor as `listActors()`, handles and `status` see it. */
export type ActorRow = Infer<typeof actorRowField>;

/**
 * Where is it now? With `wait`, answers when it is ALIVE with an epoch above `afterEpoch`, or DEAD, at the latest after
 * `timeoutMs`; the row says which.
 */
export const actorResolve = method(
  "actor.resolve",
  shape({ actorId: id("actor"), wait: bool, afterEpoch: optional(count()), timeoutMs: optional(count()) }),
  shape({ actor: actorRowField }),
);
export const actorByName = method(
  "actor.byName",
  /** `lease`: the caller serves `actor.nameFreed`. */
  shape({ name: str(128), namespace: str(128), lease: optional(bool) }),
  /** `leaseMs`: so long from its request the caller may answer other lookups of the name itself. */
  shape({ actor: actorRowField, leaseMs: optional(count()) }),
);
/** head → who has a lease of the name: its actor is dead, and only your reply lets the others know. */
export const actorNameFreed = method("actor.nameFreed", shape({ name: str(128), namespace: str(128) }), anything);
/** Ray's `ray.kill`: at once, no exit handlers. With `outOfScope` its last handle was disposed: it may clean up, and does not restart. */
export const actorKill = method(
  "actor.kill",
  shape({ actorId: id("actor"), noRestart: bool, outOfScope: optional(bool) }),
  shape({ found: bool }),
);

/** reader of an object → who keeps a handle in it: this loan, which the reader named, is his until he returns it or his process ends. */
export const handleBorrowed = method(
  "$actor.borrowed",
  shape({ actorId: id("actor"), loan: str(64) }),
  shape({ found: bool }),
);
/** borrower → lender of a handle: it is not needed there any more (PROTOCOL.md, "Actors"). */
export const handleReturned = method(
  "$actor.returned",
  shape({ actorId: id("actor"), loans: list(str(64)) }),
  anything,
);
export const actorsList = method(
  "actors.list",
  shape({ jobId: optional(id("job")) }),
  /** At most 10 000 rows, the living first; `total` says how many there are. */
  shape({ actors: list(actorRowField), total: optional(count()) }),
);

/**
 * head → raylet: start a worker with this actor in it. The reply comes when its constructor is done. Idempotent by (actorId, epoch): the same
 * start again joins the one that is under way, and one that is done answers again.
 */
export const actorStart = method(
  "actor.start",
  shape({
    spec: actorSpecField,
    epoch: count(),
    nodeEpoch: count(),
    leaseId: id("lease"),
    devices: list(deviceGrantField),
  }),
  shape({
    ok: bool,
    /** A refusal for want of resources: the head looks elsewhere. */
    refused: optional(str(1_024)),
    /** The constructor raised, or the process could not start. */
    failed: optional(deathCauseField),
    address: optional(str(256)),
    inc: optional(id("inc")),
    socket: optional(str(512)),
    pid: optional(count()),
    devices: optional(list(deviceGrantField)),
    bundleIndex: optional(bundleIndexField),
    view: nodeViewField,
  }),
);
export type ActorStarted = Infer<(typeof actorStart)["reply"]>;
/** head → raylet. `graceMs` 0 is SIGKILL at once. */
export const actorStop = method(
  "actor.stop",
  shape({ actorId: id("actor"), epoch: count(), graceMs: count(), cause: deathCauseField }),
  shape({ found: bool, view: nodeViewField }),
);
/** raylet → head: a worker that hosted an actor ended. */
export const actorEnded = method(
  "actor.ended",
  shape({
    nodeId: id("node"),
    nodeEpoch: count(),
    actorId: id("actor"),
    epoch: count(),
    cause: deathCauseField,
    view: nodeViewField,
  }),
  anything,
);
