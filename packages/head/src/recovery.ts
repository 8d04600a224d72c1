import { causeOf } from "./actor-record.ts";
import type { HeadContext } from "./context.ts";

/**
 * After the journal was loaded: ends what lost its owner, its group or its node while nobody could write that down (ray.md 2.5 and 3.1, "GCS
 * restarts"). Jobs keep what they own until their driver's grace is over.
 */
export function endOrphans(ctx: HeadContext): void {
  const { nodes, groups, actors, jobs, clock } = ctx;
  const nowMs = clock.now();
  const isGone = (nodeId: string) => nodes.state(nodeId) === "DEAD" || nodes.state(nodeId) === "UNKNOWN";
  const ownerGone = (jobId: string, ownerActor: string | undefined) =>
    ownerActor === undefined ? !jobs.has(jobId) : (actors.record(ownerActor)?.state ?? "DEAD") === "DEAD";

  for (const pgId of groups.ids()) {
    const record = groups.record(pgId);
    if (record && !record.detached && ownerGone(record.jobId, record.creatorActor)) ctx.runGroups(groups.remove(pgId));
    for (const place of record?.places ?? []) {
      if (place && isGone(place.nodeId))
        ctx.runGroups(groups.nodeDead(place.nodeId, "died while the head was away", nowMs));
    }
  }
  for (const actorId of actors.idsWhere(() => true)) {
    const record = actors.record(actorId);
    if (!record || record.state === "DEAD") continue;
    const { spec, place } = record;
    if (!spec.detached && ownerGone(spec.jobId, spec.ownerActor)) {
      const cause = causeOf("OWNER_DIED", "its owner ended while the head was away");
      ctx.runActors(actors.kill(actorId, cause, true, nodes, nowMs));
    } else if (place?.bundleIndex !== undefined && spec.pgId !== undefined && !groups.record(spec.pgId)) {
      const cause = causeOf("GROUP_REMOVED", `placement group ${spec.pgId} was removed while the head was away`);
      ctx.runActors(actors.kill(actorId, cause, true, nodes, nowMs));
    } else if (place && isGone(place.nodeId)) {
      ctx.runActors(actors.nodeDead(place.nodeId, "died while the head was away", nodes, nowMs));
    }
  }
}
