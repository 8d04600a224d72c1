import type { Head } from "@whipray/head";
import type { NodeView, RunningActor, RunningBundle } from "@whipray/rpc";
import type { Asked, CallRecord, History, Hold, Life } from "./history.ts";
import type { StoreSeen } from "./object-rules.ts";

/** What must be true of a cluster at any moment. Pure: what is seen in, violations out. */

export type HeadStatus = ReturnType<Head["status"]>;

/** One raylet, seen from outside. */
export interface NodeSnapshot {
  readonly nodeId: string;
  readonly total: Readonly<Record<string, number>>;
  readonly view: NodeView;
  readonly bundles: readonly RunningBundle[];
  readonly actors: readonly RunningActor[];
  /** Actors that hold a lease: those of `actors`, and those that start or end. */
  readonly leases: number;
  /** Requests for task workers, and the leases that came of them. */
  readonly tasks: number;
}

export interface Snapshot {
  readonly nowMs: number;
  /** Undefined while no head listens. */
  readonly head: HeadStatus | undefined;
  readonly nodes: readonly NodeSnapshot[];
  readonly stores: readonly StoreSeen[];
  readonly history: History;
}

/** A group as the head has it: its record, as far as these checks go. */
export interface GroupSeen {
  readonly pgId: string;
  readonly state: string;
  readonly strategy: string;
  readonly namespace: string;
  readonly name?: string | undefined;
  readonly places: readonly ({ readonly nodeId: string } | null)[];
}

export interface ActorSeen {
  readonly spec: { readonly actorId: string; readonly namespace: string; readonly name?: string | undefined };
  readonly state: string;
  readonly epoch: number;
}

/** The head's own tables. */
export interface HeadSeen {
  readonly groups: readonly GroupSeen[];
  readonly actors: readonly ActorSeen[];
  lives(nodeId: string): boolean;
}

/** A whole device. */
const WHOLE = 10_000;

/** What the head's tables must not say. */
export function headViolations(head: HeadSeen, history: History): string[] {
  return [...halfPlaced(head), ...sharedNames(head), ...forgotten(head, history)];
}

/** P4: at no moment do the holders of a device hold more than the whole of it. */
export function overbooked(holds: readonly Hold[]): string[] {
  const found: string[] = [];
  for (const hold of holds) {
    const others = holds.filter((one) => one.device === hold.device && one.from <= hold.from && endOf(one) > hold.from);
    const units = others.reduce((sum, one) => sum + one.units, 0);
    if (units > WHOLE)
      found.push(`${hold.device} has ${units} units out: ${others.map((one) => one.holder).join(", ")}`);
  }
  return found;
}

function endOf(one: { to: number | undefined }): number {
  return one.to ?? Number.POSITIVE_INFINITY;
}

/** No actor lives in two processes under the same epoch, ever. */
export function doubleLives(lives: readonly Life[]): string[] {
  const seen = new Map<string, Life>();
  const found: string[] = [];
  for (const life of lives) {
    const key = `${life.actorId} epoch ${life.epoch}`;
    const other = seen.get(key);
    if (other) found.push(`${key} lived in ${other.process} and in ${life.process}`);
    seen.set(key, life);
  }
  return found;
}

/** What is free and what is held is what there is: never more; and nothing is missing while nobody starts or ends. */
export function unconserved(node: NodeSnapshot, history: Pick<History, "actors" | "groups">): string[] {
  const held: Record<string, number> = {};
  const add = (units: Readonly<Record<string, number>> = {}): void => {
    for (const [name, amount] of Object.entries(units)) held[name] = (held[name] ?? 0) + amount;
  };
  for (const { pgId, index } of node.bundles) add(history.groups.get(pgId)?.request.bundles[index]);
  for (const { actorId } of node.actors) {
    const spec = history.actors.get(actorId)?.request;
    if (spec && spec.pgId === undefined) add(spec.units);
  }
  const free: Record<string, number> = { ...node.view.free };
  // The only devices of a simulation are GPUs.
  const gpus = Object.values(node.view.devices).reduce((sum, units) => sum + units, 0);
  if (gpus > 0) free["GPU"] = gpus;
  return Object.entries(node.total).flatMap(([name, total]) => {
    const sum = (free[name] ?? 0) + (held[name] ?? 0);
    const settled = node.leases === node.actors.length && node.tasks === 0;
    if (sum > total || (settled && sum < total)) {
      return [`${node.nodeId}: ${name} ${free[name] ?? 0} free + ${held[name] ?? 0} held, of ${total}`];
    }
    return [];
  });
}

/** P16: a CREATED group has every bundle on a node that lives; what lost one says so. */
export function halfPlaced({ groups, lives }: Pick<HeadSeen, "groups" | "lives">): string[] {
  const bad: string[] = [];
  for (const { pgId, state, places, strategy } of groups) {
    const nodeIds: string[] = [];
    for (const place of places) if (place) nodeIds.push(place.nodeId);
    if (state === "CREATED" && (nodeIds.length < places.length || !nodeIds.every(lives))) {
      const dead = nodeIds.filter((nodeId) => !lives(nodeId));
      bad.push(
        `${pgId} is CREATED, but its bundles are on ${nodeIds.join(", ")}, of which are dead ${dead.join(", ")}`,
      );
    }
    if (state === "PENDING" && nodeIds.length > 0)
      bad.push(`${pgId} is PENDING and has ${nodeIds.length} bundles placed`);
    if (nodeIds.length < 2) continue;
    const apart = new Set(nodeIds).size;
    if (strategy === "STRICT_PACK" && apart > 1) bad.push(`${pgId} is STRICT_PACK on ${apart} nodes`);
    if (strategy === "STRICT_SPREAD" && apart < nodeIds.length) bad.push(`${pgId} is STRICT_SPREAD with a node twice`);
  }
  return bad;
}

/** Names are unique in their namespace, among actors and among groups. */
export function sharedNames({ groups, actors }: Pick<HeadSeen, "groups" | "actors">): string[] {
  const found: string[] = [];
  const seen = new Set<string>();
  const see = (what: string, { name, namespace }: Pick<GroupSeen, "name" | "namespace">): void => {
    if (name === undefined) return;
    const key = `${what} ${namespace}/${name}`;
    if (seen.has(key)) found.push(`${key} exists twice`);
    seen.add(key);
  };
  for (const { state, spec } of actors) if (state !== "DEAD") see("actor", spec);
  for (const group of groups) see("placement group", group);
  return found;
}

/** P11: every call ends by its bound. */
export function lateCalls(calls: Iterable<CallRecord>, nowMs: number): string[] {
  const found: string[] = [];
  for (const { token, actorId, boundAtMs, endedAtMs } of calls) {
    if ((endedAtMs ?? nowMs) > boundAtMs) found.push(`call ${token} of ${actorId} was to end by ${boundAtMs} ms`);
  }
  return found;
}

/** P7: what the head acknowledged stays, and what it ended stays ended, whatever became of the head meanwhile. */
export function forgotten(head: Pick<HeadSeen, "groups" | "actors">, history: History): string[] {
  const groups = new Set(head.groups.map((group) => group.pgId));
  const actors = new Map(head.actors.map((actor) => [actor.spec.actorId, actor]));
  const found: string[] = [];
  for (const [pgId, asked] of history.groups) found.push(...outOfStep(pgId, asked, groups.has(pgId)));
  for (const [actorId, asked] of history.actors) {
    const row = actors.get(actorId);
    if (asked.created === "ok" && !row) found.push(`${actorId} was acknowledged and is not known`);
    if (asked.ended === "ok" && row && row.state !== "DEAD") found.push(`${actorId} was killed and is ${row.state}`);
    if (!row) continue;
    if (history.dead.has(actorId) && row.state !== "DEAD") found.push(`${actorId} was DEAD and is ${row.state}`);
    if (row.epoch < (history.epochs.get(actorId) ?? 0)) found.push(`${actorId} went back to epoch ${row.epoch}`);
  }
  return found;
}

function outOfStep(pgId: string, { created, ended }: Asked<unknown>, known: boolean): string[] {
  if (created === "ok" && ended === undefined && !known) return [`${pgId} was acknowledged and is not known`];
  return ended === "ok" && known ? [`${pgId} was removed and is there`] : [];
}
