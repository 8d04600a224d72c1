import { bool, count, type Infer, id, integer, list, method, oneOf, optional, record, shape, str } from "../fields.ts";
import { CPU_LIST_LIMIT_CHARS, deviceGrantField, linkRuleField, nodeViewField, unitsField } from "./resources.ts";

export const STRATEGIES = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] as const;
export const strategyField = oneOf(...STRATEGIES);
export type Strategy = Infer<typeof strategyField>;
export const BUNDLES_LIMIT = 10_000;

export const groupStateField = oneOf("PENDING", "PREPARED", "CREATED", "RESCHEDULING", "REMOVED");
export type GroupState = Infer<typeof groupStateField>;

/** driver or worker → head. Idempotent by `pgId`. The reply comes when the group is journalled, not when it is placed. */
export const groupCreate = method(
  "pg.create",
  shape({
    pgId: id("pg"),
    jobId: id("job"),
    name: optional(str(128)),
    namespace: str(128),
    bundles: list(unitsField, BUNDLES_LIMIT),
    strategy: strategyField,
    /** `detached` lives until it is removed; else it dies with its job and creator. */
    detached: bool,
    creatorActor: optional(id("actor")),
    /** Only nodes with these labels; one per bundle, or none. */
    labels: optional(list(record(str(256), 64), BUNDLES_LIMIT)),
    /** How near the devices of each bundle must be to each other; one per bundle, or none. */
    links: optional(list(linkRuleField, BUNDLES_LIMIT)),
    /** Fails with what is missing when it was not placed by then; counted from the request. */
    timeoutMs: optional(count()),
  }),
  shape({ pgId: id("pg") }),
);
export type GroupCreate = Infer<(typeof groupCreate)["request"]>;

const placedBundleField = shape({
  index: count(BUNDLES_LIMIT),
  units: unitsField,
  nodeId: optional(id("node")),
  devices: list(deviceGrantField),
  /** Of the devices, as far as the node knows them. */
  numaNodes: optional(list(count(4_096), 64)),
  /** CPUs next to any of the devices: `0-31,64-95`. */
  cpuAffinity: optional(str(CPU_LIST_LIMIT_CHARS)),
  /** How the devices reach each other: `NV18 mesh`. Absent for fewer than two. */
  links: optional(str(128)),
  /** The choice as people read it: `4 × GPU 0-3: NV18 mesh, NUMA 0`. */
  choice: optional(str(512)),
});
export type PlacedBundle = Infer<typeof placedBundleField>;

/** Why one bundle waits: what is short, and on which node it would come closest. */
const waitReasonField = shape({
  bundle: count(BUNDLES_LIMIT),
  /** `infeasible`: no node could ever hold it; `busy`: one could when others end. */
  kind: oneOf("infeasible", "busy", "strategy"),
  text: str(2_048),
  missing: unitsField,
  nodeId: optional(id("node")),
});
export type WaitReason = Infer<typeof waitReasonField>;

const groupRowField = shape({
  pgId: id("pg"),
  name: optional(str(128)),
  namespace: str(128),
  jobId: id("job"),
  strategy: strategyField,
  state: groupStateField,
  detached: bool,
  bundles: list(placedBundleField, BUNDLES_LIMIT),
  /** Empty unless PENDING or RESCHEDULING. */
  reasons: list(waitReasonField, BUNDLES_LIMIT),
  attempts: count(),
  createdAtMs: count(),
});
/** One group as `placementGroupTable()` and `status` show it. */
export type GroupRow = Infer<typeof groupRowField>;

/**
 * Waits until CREATED, at most `timeoutMs`; `ready` false = time ran out. Errors: `PLACEMENT_GROUP_REMOVED`, `NOT_FOUND`, and
 * `PLACEMENT_TIMEOUT` when the group's own deadline has passed (details say what was missing).
 */
export const groupWait = method(
  "pg.wait",
  shape({ pgId: id("pg"), timeoutMs: optional(count()) }),
  shape({ ready: bool, group: groupRowField }),
);
/** Idempotent; removing an unknown group is a no-op (Ray). Ends what runs inside. */
export const groupRemove = method("pg.remove", shape({ pgId: id("pg") }), shape({ found: bool }));
export const groupTable = method(
  "pg.table",
  shape({ pgId: optional(id("pg")), name: optional(str(128)), namespace: optional(str(128)) }),
  shape({ groups: list(groupRowField) }),
);

const bundleAskField = shape({
  index: count(BUNDLES_LIMIT),
  units: unitsField,
  devices: list(deviceGrantField),
  links: optional(linkRuleField),
});
export type BundleAsk = Infer<typeof bundleAskField>;

/** head → raylet, first phase. All of this node's bundles or none. A refusal brings the fresh view. Idempotent by (pgId, epoch). */
export const bundlePrepare = method(
  "bundle.prepare",
  shape({ pgId: id("pg"), epoch: count(), nodeEpoch: count(), bundles: list(bundleAskField, BUNDLES_LIMIT) }),
  shape({ ok: bool, reason: optional(str(1_024)), view: nodeViewField }),
);
/** head → raylet, second phase. */
export const bundleCommit = method(
  "bundle.commit",
  shape({ pgId: id("pg"), epoch: count(), indices: list(count(BUNDLES_LIMIT), BUNDLES_LIMIT) }),
  shape({ view: nodeViewField }),
);
/** head → raylet: gives bundles back, prepared or committed, and ends what runs in them. Unknown ones are fine. */
export const bundleRelease = method(
  "bundle.release",
  shape({ pgId: id("pg"), epoch: count(), indices: optional(list(count(BUNDLES_LIMIT), BUNDLES_LIMIT)) }),
  shape({ view: nodeViewField }),
);

/** Bundle index in a request: −1 is any bundle that fits. */
export const bundleIndexField = integer(-1, BUNDLES_LIMIT);
