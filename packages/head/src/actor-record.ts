import { covers, WhiprayError } from "@whipray/core";
import {
  ACTOR_ARGS_LIMIT_BYTES,
  type ActorRow,
  type ActorSpec,
  type ActorState,
  type DeathCause,
  type DeviceGrant,
} from "@whipray/rpc";
import { checkName, checkProcessUnits, checkUnits, invalid } from "./names.ts";

/** Where an actor is, or is being started. */
export interface ActorPlace {
  nodeId: string;
  nodeEpoch: number;
  leaseId: string;
  devices: DeviceGrant[];
  bundleIndex?: number | undefined;
}

/** How to reach it; known once its constructor is done. */
export interface ActorProcess {
  address: string;
  inc: string;
  socket?: string | undefined;
  pid: number;
}

/** What the journal keeps of an actor. */
export interface ActorRecord {
  spec: ActorSpec;
  state: ActorState;
  /** Grows with each start; calls that mean an older one are refused. */
  epoch: number;
  restarts: number;
  place?: ActorPlace | undefined;
  process?: ActorProcess | undefined;
  death?: DeathCause | undefined;
}

/** @throws WhiprayError `INVALID_NAME`, `INVALID_RESOURCES`, `INVALID_ARGUMENT`, `PAYLOAD_TOO_LARGE`. */
export function newActor(asked: ActorSpec): ActorRecord {
  checkName("namespace", asked.namespace);
  if (asked.name !== undefined) checkName("actor name", asked.name);
  const units = checkProcessUnits(asked.units, "resources of the actor");
  const placementUnits = checkUnits(asked.placementUnits, "resources to place the actor");
  if (!covers(placementUnits, units)) throw invalid("an actor must need at least what it holds to be placed");
  if (asked.pgId === undefined && asked.bundleIndex !== -1) {
    throw invalid(`bundle index must be -1 without a placement group; got ${asked.bundleIndex}`);
  }
  const bytes = asked.args.reduce((sum, part) => sum + part.length, 0);
  if (bytes > ACTOR_ARGS_LIMIT_BYTES) {
    throw new WhiprayError({
      code: "PAYLOAD_TOO_LARGE",
      message: `constructor arguments have ${bytes} bytes; at most ${ACTOR_ARGS_LIMIT_BYTES}: pass large values as references`,
      details: { bytes, limit: ACTOR_ARGS_LIMIT_BYTES },
    });
  }
  return { spec: { ...asked, units, placementUnits }, state: "PENDING_CREATION", epoch: 0, restarts: 0 };
}

const COUNTS_AS_FAILURE: ReadonlySet<DeathCause["kind"]> = new Set([
  "WORKER_DIED",
  "NODE_DIED",
  "RAY_KILL",
  "DEVICE_LOST",
  "OUT_OF_MEMORY",
]);

/**
 * Whether this end is followed by a restart (ray.md 3.1): a crashed worker, one out of memory, a dead node, a lost device and a kill with `noRestart: false` are, while
 * restarts are left (-1: always); leaving on purpose, a failed constructor, a dead owner, a removed group and the rest never.
 */
export function restartsAfter(record: ActorRecord, cause: DeathCause): boolean {
  const { maxRestarts } = record.spec;
  return COUNTS_AS_FAILURE.has(cause.kind) && (maxRestarts === -1 || record.restarts < maxRestarts);
}

export function causeOf(kind: DeathCause["kind"], message: string, nodeId?: string): DeathCause {
  return { kind, message: message.slice(0, 8_192), ...(nodeId === undefined ? {} : { nodeId }) };
}

export function actorRow(record: ActorRecord, url: string | undefined, waiting: string | undefined): ActorRow {
  const { spec, state, epoch, restarts, place, process, death } = record;
  const { actorId, jobId, namespace, detached, className, maxTaskRetries, units } = spec;
  const devices = place?.devices ?? [];
  const bundleIndex = place?.bundleIndex ?? (spec.pgId === undefined ? undefined : spec.bundleIndex);
  const row = {
    actorId,
    jobId,
    namespace,
    detached,
    className,
    state,
    epoch,
    restarts,
    maxTaskRetries,
    devices,
    units,
  };
  const more = {
    name: spec.name,
    nodeId: place?.nodeId,
    url: place && url,
    pgId: spec.pgId,
    bundleIndex,
    death,
    waiting,
    methods: spec.methods,
    ...(spec.maxPendingCalls >= 0 && { maxPendingCalls: spec.maxPendingCalls }),
  };
  return { ...row, ...present({ ...more, ...process }) };
}

/** Without the keys that have no value. */
function present<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
