import { asWhiprayError, errorToWire, WhiprayError } from "@whipray/core";
import {
  type ActorRow,
  type ActorSpec,
  type ActorStarted,
  actorByName,
  actorCreate,
  actorEnded,
  actorKill,
  actorResolve,
  actorStart,
  actorStop,
  actorsList,
  type DeathCause,
  type IncomingCall,
  type Infer,
} from "@whipray/rpc";
import type { ActorEffect, ActorStartEffect, StartOutcome } from "./actor-effects.ts";
import { causeOf } from "./actor-record.ts";
import { allOf, checkOwner, type HeadContext, onlyFor, type Progress } from "./context.ts";
import { actorPending, eventOfActor } from "./event-of.ts";
import { LIST_ROWS_LIMIT, LOST_START_MS } from "./limits.ts";
import { NameLeases } from "./name-leases.ts";

/** Ends of a call that leave open whether it ran. */
const LOST = new Set(["OUTCOME_UNKNOWN", "UNREACHABLE", "GOODBYE", "NODE_DIED", "CANCELLED", "DEADLINE_EXCEEDED"]);

const DONE: Progress = { saved: Promise.resolve(), gone: Promise.resolve() };

/** Serves `actor.*` and carries out what the actor table decides. */
export class ActorService {
  readonly #ctx: HeadContext;
  readonly #creating = new Map<string, Promise<void>>();
  /** Starts that a raylet has not answered yet: actor → epoch. */
  readonly #asked = new Map<string, number>();

  readonly #names: NameLeases;

  /** `restarted`: a head before this one may have given leases of names. */
  constructor(ctx: HeadContext, restarted: boolean) {
    this.#ctx = ctx;
    this.#names = new NameLeases(ctx.clock, restarted);
  }

  serve(): void {
    const { endpoint, actors } = this.#ctx;
    endpoint.serve(actorCreate, ({ spec, getIfExists }) => this.create(spec, getIfExists));
    endpoint.serve(actorResolve, (request, call) => this.#resolve(request, call));
    endpoint.serve(actorByName, (request, call) => this.#byName(request, call));
    endpoint.serve(actorKill, ({ actorId, noRestart, outOfScope }) =>
      outOfScope
        ? this.#kill(actorId, causeOf("OUT_OF_SCOPE", "its last handle was disposed"), true)
        : this.#kill(actorId, causeOf("RAY_KILL", "killed by kill()"), noRestart),
    );
    endpoint.serve(actorsList, async ({ jobId }) => {
      await this.#names.until();
      const ids = actors.idsOf(jobId);
      return { actors: ids.slice(0, LIST_ROWS_LIMIT).map((actorId) => this.#row(actorId)), total: ids.length };
    });
    endpoint.serve(actorEnded, (request, call) => this.#ended(request, call));
  }

  /** Whether a raylet is still to answer a start of this session. */
  isAsked(actorId: string): boolean {
    return this.#asked.has(actorId);
  }

  /** The reply comes when the actor is journalled. */
  async create(spec: ActorSpec, getIfExists: boolean): Promise<{ actorId: string; existing: boolean }> {
    const { actors, groups, clock } = this.#ctx;
    checkOwner(this.#ctx, spec.jobId, spec.ownerActor);
    const { existing, created } = actors.create(spec, getIfExists, groups, clock.now());
    const actorId = existing ?? spec.actorId;
    if (created) this.#creating.set(actorId, this.#append(actorId));
    await this.#creating.get(actorId);
    // Whoever had the name before is forgotten first.
    if (created) await this.#untilTold(spec);
    return { actorId, existing: existing !== undefined };
  }

  async #append(actorId: string): Promise<void> {
    const { actors, journal, events, clock, reschedule } = this.#ctx;
    try {
      await journal.append([{ table: "actors", key: actorId, value: actors.record(actorId) }]);
    } catch (error) {
      actors.discard(actorId);
      throw error;
    } finally {
      this.#creating.delete(actorId);
    }
    const record = actors.record(actorId);
    if (record && record.state !== "DEAD") events.add(actorPending(record));
    actors.durable(actorId, clock.now());
    reschedule();
  }

  /** Until then nothing may be said that tells of the end of an actor with this name. */
  #untilTold({ name, namespace }: Pick<ActorSpec, "name" | "namespace">): Promise<unknown> | undefined {
    return name === undefined ? undefined : this.#names.until({ name, namespace });
  }

  async #byName(
    request: Infer<(typeof actorByName)["request"]>,
    call: IncomingCall,
  ): Promise<Infer<(typeof actorByName)["reply"]>> {
    const { name, namespace, lease = false } = request;
    const { actors } = this.#ctx;
    for (let untold = this.#untilTold(request); untold; untold = this.#untilTold(request)) await untold;
    const actorId = actors.byName(namespace, name);
    if (actorId === undefined)
      throw notFound(`no actor is named ${name} in namespace ${namespace}`, { name, namespace });
    const leaseMs = lease && !this.#creating.has(actorId) ? this.#names.grant(request, call.peer) : undefined;
    return { actor: this.#row(actorId), ...(leaseMs !== undefined && { leaseMs }) };
  }

  #row(actorId: string): ActorRow {
    const { actors, nodes, groups, journal } = this.#ctx;
    const row = actors.row(actorId, nodes, groups);
    if (!row) throw notFound(`actor ${actorId} does not exist`, { actorId });
    if (row.waiting !== undefined && journal.trouble)
      row.waiting = `${row.waiting}; ${journal.trouble.message}`.slice(0, 2_048);
    return row;
  }

  async #resolve(request: Infer<(typeof actorResolve)["request"]>, call: IncomingCall): Promise<{ actor: ActorRow }> {
    const { actorId, wait, timeoutMs } = request;
    const after = request.afterEpoch ?? 0;
    const settled = (): ActorRow | undefined => {
      const row = this.#row(actorId);
      return row.state === "DEAD" || (row.state === "ALIVE" && row.epoch > after) ? row : undefined;
    };
    const row = wait ? await this.#ctx.waiters.until(`actor ${actorId}`, timeoutMs, call.signal, settled) : undefined;
    const actor = row ?? this.#row(actorId);
    if (actor.state === "DEAD") await this.#untilTold(actor);
    return { actor };
  }

  async #kill(actorId: string, cause: DeathCause, noRestart: boolean): Promise<{ found: boolean }> {
    const { actors, nodes, clock, journal } = this.#ctx;
    const effects = actors.kill(actorId, cause, noRestart, nodes, clock.now());
    await journal.orFail(this.run(effects).saved);
    const record = actors.record(actorId);
    if (record?.state === "DEAD") await this.#untilTold(record.spec);
    return { found: effects.length > 0 };
  }

  async #ended(request: Infer<(typeof actorEnded)["request"]>, call: IncomingCall): Promise<null> {
    onlyFor(call, "raylet");
    const { nodes, actors, clock, reschedule } = this.#ctx;
    const { nodeId, nodeEpoch, actorId, epoch, cause, view } = request;
    nodes.viewed(nodeId, nodeEpoch, view);
    await this.run(actors.ended(actorId, epoch, nodeId, { ...cause, nodeId }, nodes, clock.now())).saved;
    reschedule();
    return null;
  }

  run(effects: readonly ActorEffect[]): Progress {
    if (effects.length === 0) return DONE;
    this.#ctx.reschedule();
    return allOf(effects.map((effect) => this.#do(effect)));
  }

  #do(effect: ActorEffect): Progress {
    const { journal } = this.#ctx;
    switch (effect.kind) {
      case "save":
        return { ...DONE, saved: this.#save(effect.actorId) };
      case "delete":
        return { ...DONE, saved: journal.save("actors", effect.actorId) };
      case "start":
        void this.#start(effect);
        return DONE;
      case "stop":
        return { ...DONE, gone: this.#stop(effect) };
      case "changed": {
        const told = this.#freed(effect.actorId)?.then(() => this.#tell(effect.actorId, effect.ended));
        if (!told) this.#tell(effect.actorId, effect.ended);
        return told ? { ...DONE, saved: told } : DONE;
      }
      case "gone":
        return this.#endOwned(effect.actorId, effect.reason);
    }
  }

  /** A dead actor's name: resolves when nobody answers a lookup with it any more. */
  #freed(actorId: string): Promise<void> | undefined {
    const record = this.#ctx.actors.record(actorId);
    if (record?.state !== "DEAD" || record.spec.name === undefined) return undefined;
    return this.#names.free({ name: record.spec.name, namespace: record.spec.namespace });
  }

  #tell(actorId: string, ended: DeathCause | undefined): void {
    const { actors, events, waiters } = this.#ctx;
    const record = actors.record(actorId);
    const event = record && eventOfActor(record, ended);
    if (event) events.add(event);
    waiters.wake(`actor ${actorId}`);
  }

  #save(actorId: string): Promise<void> {
    const { actors, journal } = this.#ctx;
    const epoch = actors.record(actorId)?.epoch ?? 0;
    return journal.save("actors", actorId).then(() => void this.run(actors.saved(actorId, epoch)));
  }

  /** Actors and groups that the ended actor made, unless they are detached. */
  #endOwned(actorId: string, reason: string): Progress {
    const { actors, groups, nodes, clock, runGroups } = this.#ctx;
    const children = actors.idsWhere((spec) => spec.ownerActor === actorId && !spec.detached);
    const cause = causeOf("OWNER_DIED", reason);
    return allOf([
      this.run(children.flatMap((child) => actors.kill(child, cause, true, nodes, clock.now()))),
      runGroups(groups.ownedBy({ actorId }).flatMap((pgId) => groups.remove(pgId))),
    ]);
  }

  async #start(effect: ActorStartEffect): Promise<void> {
    const { actors, nodes, clock } = this.#ctx;
    const { actorId, epoch } = effect;
    this.#asked.set(actorId, epoch);
    const outcome = await this.#ask(effect);
    if (this.#asked.get(actorId) === epoch) this.#asked.delete(actorId);
    if (outcome.kind === "unknown") clock.after(LOST_START_MS, () => this.#askAgain(effect));
    this.run(actors.started(effect, outcome, nodes, clock.now()));
    this.#ctx.reschedule();
  }

  /** A start is idempotent: the same question joins the start that is under way, or makes it if the first was lost. */
  #askAgain(effect: ActorStartEffect): void {
    const { actorId, epoch } = effect;
    if (this.#ctx.actors.isStarting(actorId, epoch) && !this.isAsked(actorId))
      void this.#start({ ...effect, again: true });
  }

  async #ask(effect: ActorStartEffect): Promise<StartOutcome> {
    const { actors, raylets } = this.#ctx;
    const { actorId, epoch, nodeId, nodeEpoch, leaseId, bundleIndex } = effect;
    // What was asked before may run there, even if nobody can be asked now.
    const unsent = (reason: string): StartOutcome => (effect.again ? { kind: "unknown" } : { kind: "unsent", reason });
    const peer = raylets.peer(nodeId);
    const record = actors.record(actorId);
    if (!peer || !record) return unsent("no connection to the node");
    try {
      const spec = { ...record.spec, bundleIndex };
      const reply = await peer.invoke(actorStart, { spec, epoch, nodeEpoch, leaseId, devices: [...effect.devices] });
      raylets.viewed(nodeId, reply.view);
      return outcomeOf(reply, nodeId);
    } catch (thrown) {
      const error = asWhiprayError(thrown);
      if (error.retryable || error.code === "STALE_EPOCH") return unsent(error.message);
      if (peer.closed || LOST.has(error.code)) return { kind: "unknown" };
      return {
        kind: "failed",
        cause: { ...causeOf("CREATION_FAILED", error.message, nodeId), error: errorToWire(error) },
      };
    }
  }

  async #stop({ actorId, epoch, nodeId, cause, graceMs = 0 }: Extract<ActorEffect, { kind: "stop" }>): Promise<void> {
    const { actors, raylets, logger, reschedule } = this.#ctx;
    try {
      await raylets.order(nodeId, actorStop, { actorId, epoch, graceMs, cause });
    } catch (error) {
      logger.warn("a raylet refused to stop an actor", { actorId, nodeId, error: asWhiprayError(error).message });
    }
    this.run(actors.stopped(actorId));
    reschedule();
  }
}

function outcomeOf(reply: ActorStarted, nodeId: string): StartOutcome {
  const { ok, refused, failed, address, inc, socket, pid, devices, bundleIndex } = reply;
  if (refused !== undefined) return { kind: "refused", reason: refused };
  if (failed) return { kind: "failed", cause: { ...failed, nodeId } };
  if (ok && address !== undefined && inc !== undefined && pid !== undefined) {
    return { kind: "ok", address, inc, socket, pid, devices, bundleIndex };
  }
  return {
    kind: "failed",
    cause: causeOf("CREATION_FAILED", "the raylet's answer to the start was incomplete", nodeId),
  };
}

function notFound(message: string, details: Record<string, unknown>): WhiprayError {
  return new WhiprayError({ code: "ACTOR_NOT_FOUND", message, details });
}
