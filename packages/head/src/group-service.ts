import { asWhiprayError, WhiprayError } from "@whipray/core";
import {
  bundleCommit,
  bundlePrepare,
  bundleRelease,
  type GroupCreate,
  type GroupRow,
  groupCreate,
  groupRemove,
  groupTable,
  groupWait,
  type IncomingCall,
  type Infer,
} from "@whipray/rpc";
import { causeOf } from "./actor-record.ts";
import { allOf, checkOwner, type HeadContext, type Progress } from "./context.ts";
import { eventOfGroup, eventOfWaiting, groupRemoved } from "./event-of.ts";
import type { GroupEffect } from "./group-effects.ts";
import { CREATE_WITH_PLACE_MS, PREPARE_TIMEOUT_MS } from "./limits.ts";

type PrepareEffect = Extract<GroupEffect, { kind: "prepare" }>;

interface Creation {
  /** Its place is known, or will not be for a while. */
  readonly decided: () => void;
  /** The journal has been asked. */
  written: boolean;
  stored: Promise<void>;
}

const DONE: Progress = { saved: Promise.resolve(), gone: Promise.resolve() };

/** Serves `pg.*` and carries out what the group table decides. */
export class GroupService {
  readonly #ctx: HeadContext;
  /** Creations that the journal does not have yet. */
  readonly #creating = new Map<string, Creation>();

  constructor(ctx: HeadContext) {
    this.#ctx = ctx;
  }

  serve(): void {
    const { endpoint } = this.#ctx;
    endpoint.serve(groupCreate, (request) => this.create(request));
    endpoint.serve(groupWait, (request, call) => this.#wait(request, call));
    endpoint.serve(groupRemove, (request) => this.#remove(request.pgId));
    endpoint.serve(groupTable, (request) => ({ groups: this.#table(request) }));
  }

  /** The reply comes when the group is journalled. */
  async create(request: GroupCreate): Promise<{ pgId: string }> {
    const ctx = this.#ctx;
    const { pgId } = request;
    checkOwner(ctx, request.jobId, request.creatorActor);
    if (!ctx.groups.create(request, ctx.clock.now(), ctx.clock.wallMs()).existing) this.#begin(pgId);
    await this.#creating.get(pgId)?.stored;
    return { pgId };
  }

  #begin(pgId: string): void {
    const { promise, resolve: decided } = Promise.withResolvers<void>();
    const timer = this.#ctx.clock.after(CREATE_WITH_PLACE_MS, decided);
    const creation: Creation = { decided, written: false, stored: Promise.resolve() };
    this.#creating.set(pgId, creation);
    creation.stored = this.#append(pgId, creation, promise).finally(() => {
      timer.cancel();
      this.#creating.delete(pgId);
    });
  }

  /** One write has the group and, where raylets say yes at once, its place. Nothing is committed or told before. */
  async #append(pgId: string, creation: Creation, decided: Promise<void>): Promise<void> {
    const { groups, journal, events, reschedule } = this.#ctx;
    reschedule();
    await Promise.resolve();
    if (groups.isAsking(pgId)) await decided;
    creation.written = true;
    const record = groups.record(pgId);
    if (!record) return;
    const placed = record.state === "PREPARED" ? record.epoch : undefined;
    try {
      await journal.append([{ table: "groups", key: pgId, value: record }]);
    } catch (error) {
      this.run(groups.discard(pgId));
      throw error;
    }
    groups.durable(pgId);
    if (!groups.record(pgId)) return;
    events.add(eventOfGroup(record, "PENDING"));
    if (placed === undefined) reschedule();
    else this.run(groups.saved(pgId, placed));
  }

  async #wait(
    { pgId, timeoutMs }: { pgId: string; timeoutMs?: number | undefined },
    call: IncomingCall,
  ): Promise<{ ready: boolean; group: GroupRow }> {
    const { groups, nodes, waiters } = this.#ctx;
    const look = (): GroupRow | undefined => {
      const removed = groups.removedError(pgId);
      if (removed) throw removed;
      const record = groups.record(pgId);
      if (!record) throw unknownGroup(pgId);
      return record.state === "CREATED" ? groups.row(pgId, nodes) : undefined;
    };
    const created = await waiters.until(`pg ${pgId}`, timeoutMs, call.signal, look);
    return created ? { ready: true, group: created } : { ready: false, group: groups.row(pgId, nodes)! };
  }

  async #remove(pgId: string): Promise<{ found: boolean }> {
    const { groups, journal } = this.#ctx;
    const effects = groups.remove(pgId);
    await journal.orFail(this.run(effects).saved);
    return { found: effects.length > 0 };
  }

  #table({ pgId, name, namespace }: Infer<(typeof groupTable)["request"]>): GroupRow[] {
    const { groups, nodes } = this.#ctx;
    const named = name === undefined ? undefined : groups.byName(namespace ?? "", name);
    if (name !== undefined && named === undefined) return [];
    const one = pgId ?? named;
    const ids = one === undefined ? groups.ids() : [one];
    return ids.flatMap((id) => groups.row(id, nodes) ?? []);
  }

  run(effects: readonly GroupEffect[]): Progress {
    if (effects.length === 0) return DONE;
    this.#ctx.reschedule();
    return allOf(effects.map((effect) => this.#do(effect)));
  }

  #do(effect: GroupEffect): Progress {
    const ctx = this.#ctx;
    switch (effect.kind) {
      case "save":
        return { ...DONE, saved: this.#save(effect.pgId) };
      case "saveLater":
        ctx.journal.saveLater("groups", effect.pgId);
        return DONE;
      case "delete":
        return { ...DONE, saved: this.#delete(effect.pgId) };
      case "prepare":
        void this.#prepare(effect);
        return DONE;
      case "commit":
        void this.#commit(effect);
        return DONE;
      case "release":
        return { ...DONE, gone: this.#release(effect) };
      case "changed": {
        const { groups, events, waiters } = ctx;
        const record = groups.record(effect.pgId);
        if (record && effect.lost !== undefined) events.add(eventOfGroup(record, "RESCHEDULING", effect.lost));
        else if (record?.state === "CREATED") events.add(eventOfGroup(record, "CREATED"));
        waiters.wake(`pg ${effect.pgId}`);
        return DONE;
      }
      case "removed": {
        const { actors, groups, nodes, clock, events } = ctx;
        const row = groups.row(effect.pgId, nodes);
        const late = groups.removedError(effect.pgId)?.code === "PLACEMENT_TIMEOUT";
        if (row) events.add(groupRemoved(row, effect.reason, !late));
        const inside = actors.idsWhere((spec) => spec.pgId === effect.pgId);
        const cause = causeOf("GROUP_REMOVED", effect.reason);
        return ctx.runActors(inside.flatMap((actorId) => actors.kill(actorId, cause, true, nodes, clock.now())));
      }
    }
  }

  /** Tells of groups that wait, in an event each. */
  tellStuck(nowMs: number): void {
    const { groups, nodes, events } = this.#ctx;
    for (const pgId of groups.stuck(nowMs)) {
      const record = groups.record(pgId);
      const reasons = groups.reasons(pgId, nodes);
      if (record && reasons.length > 0) events.add(eventOfWaiting(record, reasons));
    }
  }

  #save(pgId: string): Promise<void> {
    const { groups, journal } = this.#ctx;
    const creation = this.#creating.get(pgId);
    if (creation) {
      creation.decided();
      const again = creation.written;
      // The creation fails towards who asked for it.
      return creation.stored.then(
        () => (again ? this.#save(pgId) : undefined),
        () => undefined,
      );
    }
    const epoch = groups.record(pgId)?.epoch ?? 0;
    return journal.save("groups", pgId).then(() => void this.run(groups.saved(pgId, epoch)));
  }

  #delete(pgId: string): Promise<void> {
    const creation = this.#creating.get(pgId);
    creation?.decided();
    return creation && !creation.written ? Promise.resolve() : this.#ctx.journal.save("groups", pgId);
  }

  async #prepare(effect: PrepareEffect): Promise<void> {
    const { nodes, clock } = this.#ctx;
    const timer = clock.after(PREPARE_TIMEOUT_MS, () => {
      nodes.unclaim(effect.nodeId, effect.claim);
      this.#prepared(effect, `no answer within ${PREPARE_TIMEOUT_MS} ms`);
    });
    // An answer that comes after that still counts: a late yes is taken back.
    const refusal = await this.#askToPrepare(effect);
    timer.cancel();
    nodes.unclaim(effect.nodeId, effect.claim);
    this.#prepared(effect, refusal);
  }

  #prepared(effect: PrepareEffect, refusal: string | undefined): void {
    this.run(this.#ctx.groups.prepared(effect, refusal, this.#ctx.clock.now()));
    if (refusal !== undefined) this.#creating.get(effect.pgId)?.decided();
    this.#ctx.reschedule();
  }

  /** Undefined is yes. */
  async #askToPrepare({ pgId, epoch, nodeId, nodeEpoch, bundles }: PrepareEffect): Promise<string | undefined> {
    const { raylets } = this.#ctx;
    const peer = raylets.peer(nodeId);
    if (!peer) return "no connection";
    try {
      const reply = await peer.invoke(bundlePrepare, { pgId, epoch, nodeEpoch, bundles });
      raylets.viewed(nodeId, reply.view);
      return reply.ok ? undefined : (reply.reason ?? "refused");
    } catch (error) {
      return asWhiprayError(error).message;
    }
  }

  async #commit(effect: Extract<GroupEffect, { kind: "commit" }>): Promise<void> {
    const { groups, raylets, clock } = this.#ctx;
    const { pgId, epoch, nodeId, indices } = effect;
    let lost: string | undefined;
    try {
      // No answer because the node is dead: the table hears of that by itself.
      if (!(await raylets.order(nodeId, bundleCommit, { pgId, epoch, indices }))) return;
    } catch (error) {
      lost = `${nodeId}: ${asWhiprayError(error).message}`;
    }
    this.run(groups.committed(pgId, epoch, nodeId, indices, lost, clock.now()));
  }

  async #release(effect: Extract<GroupEffect, { kind: "release" }>): Promise<void> {
    const { pgId, epoch, nodeId, indices } = effect;
    try {
      await this.#ctx.raylets.order(nodeId, bundleRelease, { pgId, epoch, ...(indices ? { indices } : {}) });
    } catch (error) {
      this.#ctx.logger.warn("a raylet refused to release bundles", {
        pgId,
        nodeId,
        error: asWhiprayError(error).message,
      });
    }
    this.#ctx.reschedule();
  }
}

function unknownGroup(pgId: string): WhiprayError {
  return new WhiprayError({ code: "NOT_FOUND", message: `placement group ${pgId} does not exist`, details: { pgId } });
}
