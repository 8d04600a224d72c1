import type { ClusterEvent, DeathCause, WaitReason } from "@whipray/rpc";
import type { ActorRecord } from "./actor-record.ts";
import type { NewEvent } from "./event-log.ts";
import type { GroupRecord } from "./group-record.ts";
import type { JobRecord } from "./job-table.ts";
import type { NodeEffect } from "./node-effect.ts";
import type { NodeRecord } from "./node-record.ts";

/** Ends that somebody wanted, or that follow from such a one. */
const WANTED: ReadonlySet<DeathCause["kind"]> = new Set([
  "RAY_KILL",
  "EXITED",
  "OUT_OF_SCOPE",
  "OWNER_DIED",
  "GROUP_REMOVED",
]);

export function headStarted(clusterId: string, term: number): NewEvent {
  const message = `head of ${clusterId} started (start ${term}); events before this are not known`;
  return { type: "HEAD_STARTED", severity: "INFO", ids: {}, message, details: { term } };
}

/** What an effect on a node tells; nothing for those that are no news. */
export function eventOfNode(effect: NodeEffect, record: NodeRecord | undefined): NewEvent | undefined {
  const { nodeId } = effect;
  const ids = { nodeId };
  const node = named("node", nodeId, record?.name);
  const details = { name: record?.name, ip: record?.ip, pid: record?.pid };
  switch (effect.kind) {
    case "alive":
      return { type: "NODE_ALIVE", severity: "INFO", ids, message: `${node} is alive`, details };
    case "suspect": {
      const message = `${node} is suspect: ${effect.reason}`;
      return { type: "NODE_SUSPECT", severity: "WARNING", ids, message, details: { reason: effect.reason } };
    }
    case "dead": {
      const { reason, left } = effect;
      if (left) return { type: "NODE_LEFT", severity: "INFO", ids, message: `${node} ${reason}`, details };
      const message = `${node} is dead: ${reason}`;
      return { type: "NODE_DEAD", severity: "ERROR", ids, message, details: { ...details, reason } };
    }
    case "device": {
      const { device, withheld } = effect;
      const what = `device ${device} of ${node}`;
      const about = { ...ids, device };
      if (!withheld)
        return { type: "DEVICE_OFFERED", severity: "INFO", ids: about, message: `${what} is offered again` };
      const { kind, reason } = withheld;
      const message = `${what} is not offered (${kind}: ${reason})`;
      const severity = kind === "busy" || kind === "locked" ? "INFO" : "WARNING";
      return { type: "DEVICE_WITHHELD", severity, ids: about, message, details: { kind, reason } };
    }
    default:
      return undefined;
  }
}

type GroupFacts = Pick<GroupRecord, "pgId" | "jobId" | "name" | "strategy"> & { readonly bundles: readonly unknown[] };

/** `why`: what was lost. */
export function eventOfGroup(group: GroupFacts, state: "PENDING" | "CREATED" | "RESCHEDULING", why?: string): NewEvent {
  const { pgId, jobId, name, strategy, bundles } = group;
  const what = `${named("placement group", pgId, name)}, ${strategy} of ${bundles.length},`;
  return {
    type: `PLACEMENT_GROUP_${state}`,
    severity: state === "RESCHEDULING" ? "WARNING" : "INFO",
    ids: { pgId, jobId },
    message: `${what} is ${state}${why === undefined ? "" : `: ${why}`}`,
    details: { name, strategy, bundles: bundles.length, reason: why },
  };
}

/** `inTime`: not because its deadline passed. */
export function groupRemoved({ pgId, jobId, name }: GroupFacts, reason: string, inTime: boolean): NewEvent {
  const severity = inTime ? "INFO" : "ERROR";
  return {
    type: "PLACEMENT_GROUP_REMOVED",
    severity,
    ids: { pgId, jobId },
    message: reason,
    details: { name, reason },
  };
}

export function eventOfWaiting({ pgId, jobId, name }: GroupRecord, reasons: readonly WaitReason[]): NewEvent {
  const why = reasons.map(({ bundle, kind, text }) => `bundle ${bundle} ${kind}: ${text}`).join("; ");
  const kind = reasons.some((reason) => reason.kind === "infeasible") ? "infeasible" : reasons[0]?.kind;
  const message = `${named("placement group", pgId, name)} waits for a place: ${why}`;
  return {
    type: "PLACEMENT_GROUP_WAITING",
    severity: "WARNING",
    ids: { pgId, jobId },
    message,
    details: { name, kind },
  };
}

/** `ended` is why its process ended; without, only that it is alive is news. */
export function eventOfActor(record: ActorRecord, ended: DeathCause | undefined): NewEvent | undefined {
  const { spec, state, epoch, restarts, place, process } = record;
  const ids = idsOf(record, ended?.nodeId ?? place?.nodeId);
  const what = named("actor", spec.actorId, spec.name ?? spec.className);
  const details = { className: spec.className, name: spec.name, epoch, restarts };
  if (!ended) {
    if (state !== "ALIVE") return undefined;
    const message = `${what} is alive on ${place?.nodeId} (pid ${process?.pid})`;
    return { type: "ACTOR_ALIVE", severity: "INFO", ids, message, details: { ...details, pid: process?.pid } };
  }
  const { kind, message: why, exitCode, signal, pid, logPath } = ended;
  const death = { ...details, cause: kind, exitCode, signal, pid, logPath };
  if (state === "RESTARTING") {
    const message = `${what} is restarting: ${why}`;
    return { type: "ACTOR_RESTARTING", severity: "WARNING", ids, message, details: death };
  }
  const severity = WANTED.has(kind) ? "INFO" : "ERROR";
  return { type: "ACTOR_DEAD", severity, ids, message: `${what} is dead: ${why}`, details: death };
}

export function actorPending(record: ActorRecord): NewEvent {
  const { spec } = record;
  const message = `${named("actor", spec.actorId, spec.name ?? spec.className)} is to be created`;
  const details = { className: spec.className, name: spec.name };
  return { type: "ACTOR_PENDING_CREATION", severity: "INFO", ids: idsOf(record, undefined), message, details };
}

function idsOf({ spec }: ActorRecord, nodeId: string | undefined): ClusterEvent["ids"] {
  const { actorId, jobId, pgId } = spec;
  return { actorId, jobId, ...(pgId !== undefined && { pgId }), ...(nodeId !== undefined && { nodeId }) };
}

export function jobStarted({ jobId, pid, hostname, entrypoint, namespace }: JobRecord): NewEvent {
  const message = `job ${jobId} started: pid ${pid} on ${hostname}`;
  const details = { pid, hostname, entrypoint, namespace };
  return { type: "JOB_STARTED", severity: "INFO", ids: { jobId }, message, details };
}

/** `inOrder`: it said goodbye. */
export function jobFinished(jobId: string, reason: string, inOrder: boolean): NewEvent {
  const severity = inOrder ? "INFO" : "WARNING";
  return {
    type: "JOB_FINISHED",
    severity,
    ids: { jobId },
    message: `job ${jobId} ended: ${reason}`,
    details: { reason },
  };
}

function named(what: string, id: string, name: string | undefined): string {
  return name === undefined ? `${what} ${id}` : `${what} ${name} (${id})`;
}
