import { ActorAlreadyExistsError, type IdSource, showDevices } from "@whipray/core";
import type { ActorRow, ActorSpec, DeathCause, RunningActor } from "@whipray/rpc";
import type { ActorEffect, ActorStartEffect, StartOutcome } from "./actor-effects.ts";
import { type Actor, ActorIndex } from "./actor-index.ts";
import {
  affinityLost,
  type BundleUse,
  bundleKey,
  checkFitsGroup,
  explainActor,
  type FoundPlace,
  findPlace,
  likenessOf,
} from "./actor-place.ts";
import { type ActorPlace, type ActorRecord, actorRow, causeOf, newActor, restartsAfter } from "./actor-record.ts";
import { limit } from "./full-table.ts";
import { refusedWaitMs } from "./group-queue.ts";
import type { GroupTable } from "./group-table.ts";
import { ACTORS_LIMIT, UNKNOWN_GROUP_MS } from "./limits.ts";
import { invalid } from "./names.ts";
import type { NodeTable } from "./node-table.ts";

/**
 * Actors: PENDING_CREATION → ALIVE ⇄ RESTARTING → DEAD (ray.md 3.1). Pure. A start is journalled with its epoch and place before a raylet
 * hears of it, so an older process of the same actor is always known as such.
 */
export class ActorTable {
  readonly #index = new ActorIndex();
  readonly #ids: IdSource;
  /** Placements of actors that are spread. */
  #spread = 0;

  constructor(options: { ids: IdSource }) {
    this.#ids = options.ids;
  }

  /** Actors of an earlier head. Those with a place wait for what their node says (`announced`), or for its death. */
  restore(records: Iterable<ActorRecord>, nowMs: number): void {
    for (const record of records) {
      const phase =
        record.state === "DEAD" ? "dead" : record.state === "ALIVE" ? "alive" : record.place ? "starting" : "waiting";
      this.#index.add(record, phase, nowMs);
    }
  }

  /**
   * Idempotent by actorId. `existing` is the id of the actor that has the name, with `getIfExists`. Nothing starts before `durable`.
   * @throws WhiprayError `NAME_TAKEN`, `LIMIT`, `PLACEMENT_GROUP_REMOVED` and what `newActor` and `checkFitsGroup` throw.
   */
  create(
    spec: ActorSpec,
    getIfExists: boolean,
    groups: GroupTable,
    nowMs: number,
  ): { existing?: string; created: boolean } {
    if (this.#index.all.has(spec.actorId)) return { created: false };
    const record = newActor(spec);
    if (getIfExists && spec.name === undefined) throw invalid("getIfExists needs a name");
    const holder = spec.name === undefined ? undefined : this.#index.byName(spec.namespace, spec.name);
    if (holder !== undefined && getIfExists) return { existing: holder, created: false };
    if (holder !== undefined) {
      throw new ActorAlreadyExistsError({
        message: `actor name ${spec.name} is taken by ${holder} in namespace ${spec.namespace}; kill that one, choose another name or use getIfExists`,
        details: { name: spec.name, namespace: spec.namespace, holder },
      });
    }
    if (spec.pgId !== undefined) {
      const removed = groups.removedError(spec.pgId);
      if (removed) throw removed;
      const group = groups.record(spec.pgId);
      if (group) checkFitsGroup(record.spec, group);
    }
    if (this.#index.live.size >= ACTORS_LIMIT) throw limit("actors", ACTORS_LIMIT);
    this.#index.add(record, "new", nowMs);
    return { created: true };
  }

  /** Whether an actor has no place. */
  readonly anyWaits = (): boolean => this.#index.waiting.size > 0;

  durable(actorId: string, nowMs: number): void {
    const actor = this.#index.live.get(actorId);
    if (actor?.phase !== "new") return;
    this.#index.enter(actor, "waiting");
    actor.sinceMs = nowMs;
  }

  /** The journal refused its creation: it never was. */
  discard(actorId: string): void {
    this.#index.remove(actorId);
  }

  /** Plans a start for every waiting actor that has a place now, oldest first. */
  schedule(nodes: NodeTable, groups: GroupTable, nowMs: number): ActorEffect[] {
    const effects: ActorEffect[] = [];
    // Room only shrinks while actors are looked at: what one does not find, its likes do not find either.
    const noRoom = new Set<string>();
    for (const actor of [...this.#index.waiting]) {
      if (nowMs < actor.notBeforeMs) continue;
      const { spec } = actor.record;
      const hopeless = affinityLost(spec, nodes);
      if (hopeless !== undefined) {
        effects.push(...this.#ended(actor, causeOf("UNSCHEDULABLE", hopeless), nowMs));
        continue;
      }
      const likeness = actor.avoid.size > 0 ? "" : likenessOf(spec);
      if (noRoom.has(likeness)) continue;
      const found = findPlace(spec, nodes, groups, this.#uses(spec.pgId), actor.avoid, this.#spread);
      if (!found && actor.avoid.size === 0) noRoom.add(likeness);
      actor.avoid.clear();
      if (found && spec.spread) this.#spread++;
      if (found) effects.push(...this.#plan(spec.actorId, actor, found, nodes, nowMs));
    }
    return effects;
  }

  #plan(actorId: string, actor: Actor, found: FoundPlace, nodes: NodeTable, nowMs: number): ActorEffect[] {
    const { record } = actor;
    const { nodeId, bundleIndex } = found;
    const devices = [...found.devices];
    record.epoch++;
    record.place = {
      nodeId,
      nodeEpoch: nodes.record(nodeId)!.epoch,
      leaseId: this.#ids.next("lease"),
      devices,
      bundleIndex,
    };
    this.#index.enter(actor, "planned");
    if (bundleIndex === undefined) {
      actor.claim = { nodeId, id: nodes.claim(nodeId, record.spec.placementUnits, devices, nowMs, true) };
    }
    return [{ kind: "save", actorId }];
  }

  #uses(pgId: string | undefined): BundleUse[] {
    if (pgId === undefined) return [];
    return [...this.#index.ofGroup(pgId)].flatMap(({ record: { spec, place }, phase }) => {
      if (place?.bundleIndex === undefined) return [];
      const units = phase === "alive" ? spec.units : spec.placementUnits;
      return [{ bundleIndex: place.bundleIndex, units, devices: place.devices }];
    });
  }

  /** The journal has the start with this epoch: the raylet is asked. */
  saved(actorId: string, epoch: number): ActorEffect[] {
    const actor = this.#index.live.get(actorId);
    const place = actor?.record.place;
    if (actor?.phase !== "planned" || actor.record.epoch !== epoch || !place) return [];
    this.#index.enter(actor, "starting");
    return [startAt(actorId, epoch, place)];
  }

  /** What came of a start. A process that came up for nobody any more, because a kill overtook its start, is ended. */
  started(
    ask: Pick<ActorStartEffect, "actorId" | "epoch" | "nodeId">,
    outcome: StartOutcome,
    nodes: NodeTable,
    nowMs: number,
  ): ActorEffect[] {
    const { actorId, epoch, nodeId } = ask;
    const actor = this.#index.live.get(actorId);
    if (actor?.phase !== "starting" || actor.record.epoch !== epoch) {
      const runs = actor?.phase === "alive" && actor.record.epoch === epoch;
      if (outcome.kind !== "ok" || runs) return [];
      return [{ kind: "stop", actorId, epoch, nodeId, cause: causeOf("RAY_KILL", "ended while it was started") }];
    }
    if (outcome.kind === "unknown") return [];
    this.releaseClaim(actorId, nodes);
    if (outcome.kind === "failed") return this.#ended(actor, outcome.cause, nowMs);
    if (outcome.kind !== "ok") return this.#refused(actor, outcome.reason, nowMs);
    const { address, inc, socket, pid, devices, bundleIndex } = outcome;
    const place = actor.record.place!;
    if (devices) place.devices = devices;
    if (bundleIndex !== undefined && bundleIndex >= 0) place.bundleIndex = bundleIndex;
    return this.#running(actor, { address, inc, socket, pid });
  }

  #running(actor: Actor, process: ActorRecord["process"]): ActorEffect[] {
    const { actorId } = actor.record.spec;
    Object.assign(actor.record, { state: "ALIVE", process });
    this.#index.enter(actor, "alive");
    actor.refusals = 0;
    actor.lastRefusal = undefined;
    return [
      { kind: "save", actorId },
      { kind: "changed", actorId },
    ];
  }

  /** Looks elsewhere: at once after the first refusal, then with growing waits. */
  #refused(actor: Actor, reason: string, nowMs: number): ActorEffect[] {
    const { record } = actor;
    actor.avoid.add(bundleKey(record.place!.nodeId, record.place!.bundleIndex));
    actor.lastRefusal = `${record.place!.nodeId}: ${reason}`;
    record.place = undefined;
    this.#index.enter(actor, "waiting");
    actor.refusals++;
    actor.notBeforeMs = nowMs + refusedWaitMs(actor.refusals);
    return [{ kind: "changed", actorId: record.spec.actorId }];
  }

  /** A raylet says that a process ended; of another epoch or node it means nothing (any more). */
  ended(
    actorId: string,
    epoch: number,
    nodeId: string,
    cause: DeathCause,
    nodes: NodeTable,
    nowMs: number,
  ): ActorEffect[] {
    const actor = this.#index.live.get(actorId);
    const { record } = actor ?? {};
    if (!actor || record?.epoch !== epoch || record.place?.nodeId !== nodeId || actor.phase === "stopping") return [];
    this.releaseClaim(actorId, nodes);
    return this.#ended(actor, cause, nowMs);
  }

  #ended(actor: Actor, cause: DeathCause, nowMs: number, noRestart = false): ActorEffect[] {
    const { record } = actor;
    const { actorId } = record.spec;
    const again = !noRestart && restartsAfter(record, cause);
    const ran = record.epoch > 0;
    record.process = undefined;
    record.place = undefined;
    actor.sinceMs = nowMs;
    if (again) {
      record.state = "RESTARTING";
      record.restarts++;
      this.#index.enter(actor, "waiting");
      actor.notBeforeMs = nowMs;
    } else {
      Object.assign(record, { state: "DEAD", death: cause });
      // Arguments and environment are of no use any more, and may be large.
      record.spec = { ...record.spec, args: [], env: {} };
      this.#index.enter(actor, "dead");
    }
    const gone: ActorEffect[] =
      ran || !again ? [{ kind: "gone", actorId, reason: `its owner ${actorId} ended: ${cause.message}` }] : [];
    return [{ kind: "save", actorId }, { kind: "changed", actorId, ended: cause }, ...gone, ...this.#forgotten()];
  }

  /** Ends an actor from outside. With a cause that allows a restart it starts again once the old process is gone. */
  kill(actorId: string, cause: DeathCause, noRestart: boolean, nodes: NodeTable, nowMs: number): ActorEffect[] {
    const actor = this.#index.live.get(actorId);
    if (!actor || (actor.phase === "stopping" && !noRestart)) return [];
    this.releaseClaim(actorId, nodes);
    const { place, epoch, spec } = actor.record;
    const graceMs = cause.kind === "OUT_OF_SCOPE" ? spec.graceMs : 0;
    const sent = place && actor.phase !== "planned" ? { nodeId: place.nodeId, epoch } : undefined;
    const stop: ActorEffect[] = sent ? [{ kind: "stop", actorId, ...sent, cause, graceMs }] : [];
    const effects = this.#ended(actor, cause, nowMs, noRestart);
    if (actor.record.state === "RESTARTING" && sent) this.#index.enter(actor, "stopping");
    return [...effects, ...stop];
  }

  /** The old process is gone: the restart may begin. */
  stopped(actorId: string): ActorEffect[] {
    const actor = this.#index.live.get(actorId);
    if (actor?.phase !== "stopping") return [];
    this.#index.enter(actor, "waiting");
    return [{ kind: "changed", actorId }];
  }

  nodeDead(nodeId: string, reason: string, nodes: NodeTable, nowMs: number): ActorEffect[] {
    return [...this.#index.live.values()].flatMap((actor) => {
      if (actor.record.place?.nodeId !== nodeId) return [];
      this.releaseClaim(actor.record.spec.actorId, nodes);
      // Nobody was asked yet, so nothing can run there.
      if (actor.phase === "planned") return this.#refused(actor, reason, nowMs);
      return this.#ended(actor, causeOf("NODE_DIED", `node ${nodeId} died: ${reason}`, nodeId), nowMs);
    });
  }

  /**
   * A raylet says what it runs. What the table knows (same epoch) stays; the rest goes.
   * What should be there and is not has ended. A start that nobody waits for any more is asked for again.
   */
  announced(
    nodeId: string,
    running: readonly RunningActor[],
    stillAsked: (actorId: string) => boolean,
    nowMs: number,
  ): { drop: string[]; effects: ActorEffect[] } {
    const drop: string[] = [];
    const there = new Set<string>();
    const effects: ActorEffect[] = [];
    for (const { actorId, epoch } of running) {
      const actor = this.#index.live.get(actorId);
      const mine = actor?.record.place?.nodeId === nodeId && actor.record.epoch === epoch && actor.phase !== "planned";
      if (mine) there.add(actorId);
      else drop.push(actorId);
    }
    for (const [actorId, { phase, record }] of [...this.#index.live]) {
      if (record.place?.nodeId !== nodeId) continue;
      if (phase === "starting" && !stillAsked(actorId)) {
        // Its constructor may be done, may still run, or nobody heard of it: the same question again finds out.
        effects.push({ ...startAt(actorId, record.epoch, record.place), again: true });
      } else if (phase === "alive" && !there.has(actorId)) {
        const cause = causeOf("WORKER_DIED", `its process was gone when ${nodeId} came back`, nodeId);
        // A list that was overtaken by the answer to a start does not have it: what came up so late must not stay.
        const stop: ActorEffect = { kind: "stop", actorId, epoch: record.epoch, nodeId, cause };
        effects.push(...this.#ended(this.#index.live.get(actorId)!, cause, nowMs), stop);
      }
    }
    return { drop, effects };
  }

  /** Actors that wait for a group that never came are unschedulable. */
  tick(groups: GroupTable, nowMs: number): ActorEffect[] {
    return [...this.#index.waiting].flatMap((actor) => {
      const { pgId } = actor.record.spec;
      if (pgId === undefined || groups.record(pgId)) return [];
      if (nowMs - actor.sinceMs < UNKNOWN_GROUP_MS) return [];
      return this.#ended(actor, causeOf("UNSCHEDULABLE", `placement group ${pgId} does not exist`), nowMs);
    });
  }

  /** Whether this very start is neither answered nor over. */
  isStarting(actorId: string, epoch: number): boolean {
    const actor = this.#index.live.get(actorId);
    return actor?.phase === "starting" && actor.record.epoch === epoch;
  }

  /** Ids of live actors that `match`, in the order of their creation. */
  idsWhere(match: (spec: ActorSpec) => boolean): string[] {
    return [...this.#index.live].flatMap(([actorId, actor]) => (match(actor.record.spec) ? [actorId] : []));
  }

  byName(namespace: string, name: string): string | undefined {
    return this.#index.byName(namespace, name);
  }

  record(actorId: string): Readonly<ActorRecord> | undefined {
    return this.#index.all.get(actorId)?.record;
  }

  row(actorId: string, nodes: NodeTable, groups: GroupTable): ActorRow | undefined {
    const actor = this.#index.all.get(actorId);
    if (!actor) return undefined;
    const { record } = actor;
    const url = record.place && nodes.record(record.place.nodeId)?.url;
    const row = actorRow(record, url, this.#waitingText(actor, nodes, groups)?.slice(0, 2_048));
    const topology = record.place && nodes.topology(record.place.nodeId);
    if (topology && row.devices.length > 0) row.choice = showDevices(row.devices, topology).slice(0, 512);
    return row;
  }

  #waitingText(actor: Actor, nodes: NodeTable, groups: GroupTable): string | undefined {
    const { phase, record, lastRefusal } = actor;
    if (phase === "alive" || phase === "dead") return undefined;
    if (phase === "new" || phase === "planned") return "the journal is being written";
    if (phase === "stopping") return "its old process is being ended";
    if (phase === "starting") return `${record.place!.nodeId} starts it`;
    const refusal = lastRefusal ? `; last refusal ${lastRefusal}` : "";
    return explainActor(record.spec, nodes, groups) + refusal;
  }

  /** Ids of all actors (of a job), the living first, then the dead, the latest first. */
  idsOf(jobId: string | undefined): string[] {
    const mine = [...this.#index.all].filter(([, { record }]) => jobId === undefined || record.spec.jobId === jobId);
    const [dead = [], living = []] = [true, false].map((wanted) =>
      mine.flatMap(([actorId, { phase }]) => ((phase === "dead") === wanted ? [actorId] : [])),
    );
    return [...living, ...dead.reverse()];
  }

  ids(): string[] {
    return [...this.#index.all.keys()];
  }

  /** Gives a start's claim back. */
  releaseClaim(actorId: string, nodes: NodeTable): void {
    const actor = this.#index.all.get(actorId);
    if (actor?.claim) nodes.unclaim(actor.claim.nodeId, actor.claim.id);
    if (actor) actor.claim = undefined;
  }

  #forgotten(): ActorEffect[] {
    return this.#index.evict().map((actorId) => ({ kind: "delete", actorId }));
  }
}

function startAt(actorId: string, epoch: number, place: ActorPlace): ActorStartEffect {
  const { nodeId, nodeEpoch, leaseId, devices, bundleIndex } = place;
  return { kind: "start", actorId, epoch, nodeId, nodeEpoch, leaseId, devices, bundleIndex: bundleIndex ?? -1 };
}
