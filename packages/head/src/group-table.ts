import type { ResourceUnits, WhiprayError } from "@whipray/core";
import type { BundleAsk, GroupCreate, GroupRow, RunningBundle, WaitReason } from "@whipray/rpc";
import { limit } from "./full-table.ts";
import type { GroupEffect } from "./group-effects.ts";
import { type Attempt, type Group, releaseAll } from "./group-entry.ts";
import { nameTaken, removedError, timeoutError } from "./group-errors.ts";
import { GroupQueue } from "./group-queue.ts";
import { advance, bundlesOn, type GroupRecord, groupRow, missingOf, newGroup, nodesOf } from "./group-record.ts";
import { BUNDLES_TOTAL_LIMIT, GROUPS_LIMIT, REMOVED_GROUPS_KEPT } from "./limits.ts";
import { nameKey } from "./names.ts";
import type { NodeTable } from "./node-table.ts";
import { whyNot } from "./placement/explain.ts";
import { byNode, type Placement, sumUnits } from "./placement/request.ts";
import type { Rooms } from "./placement/room-index.ts";

/**
 * Placement groups: PENDING → PREPARED → CREATED ⇄ RESCHEDULING, REMOVED (ray.md section 2). Pure: an attempt picks nodes **and
 * devices**, all raylets concerned prepare, PREPARED is journalled, all commit. Whatever fails before PREPARED undoes the whole attempt;
 * what fails later loses its own bundles only. Nothing is ever partly promised.
 */
export class GroupTable {
  readonly #groups = new Map<string, Group>();
  readonly #names = new Map<string, string>();
  readonly #removed = new Map<string, { row: GroupRow; error: WhiprayError }>();
  readonly #queue: GroupQueue;
  readonly #epochFloor: number;
  #order = 0;
  #bundles = 0;

  /** `epochFloor` is above every epoch that an earlier head used without journalling it. */
  constructor(options: { starvationMs: number; epochFloor: number }) {
    this.#queue = new GroupQueue(options.starvationMs);
    this.#epochFloor = options.epochFloor;
  }

  /** Groups of an earlier head. PREPARED ones are committed again as their nodes come back (`announced`). */
  restore(records: Iterable<GroupRecord>, nowMs: number, wallMs: number): void {
    for (const record of [...records].sort((a, b) => a.createdAtMs - b.createdAtMs)) {
      const deadline = record.deadlineWallMs;
      this.#add(record, deadline === undefined ? undefined : nowMs + Math.max(0, deadline - wallMs)).durable = true;
      if (missingOf(record).bundles.length > 0) this.#queue.add(record, this.#order, nowMs);
    }
  }

  /**
   * Idempotent by pgId. Places are looked for at once; nothing is committed before the journal has the group.
   * @throws WhiprayError `NAME_TAKEN`, `LIMIT`, `PLACEMENT_GROUP_REMOVED` and what `newGroup` throws.
   */
  create(request: GroupCreate, nowMs: number, wallMs: number): { existing: boolean } {
    const removed = this.#removed.get(request.pgId);
    if (removed) throw removed.error;
    if (this.#groups.has(request.pgId)) return { existing: true };
    const record = newGroup(request, wallMs);
    const holder = request.name === undefined ? undefined : this.#names.get(nameKey(request.namespace, request.name));
    if (holder !== undefined) throw nameTaken(request, holder);
    if (this.#groups.size >= GROUPS_LIMIT) throw limit("placement groups", GROUPS_LIMIT);
    if (this.#bundles + record.bundles.length > BUNDLES_TOTAL_LIMIT) throw limit("bundles", BUNDLES_TOTAL_LIMIT);
    const group = this.#add(record, request.timeoutMs === undefined ? undefined : nowMs + request.timeoutMs);
    this.#queue.add(record, group.order, nowMs);
    return { existing: false };
  }

  /** Whether a group, or a part of one, has no place. */
  readonly anyWaits = (): boolean => this.#queue.size > 0;

  /** Raylets are being asked for it. */
  isAsking(pgId: string): boolean {
    return this.#groups.get(pgId)?.attempt !== undefined;
  }

  /** The journal has it. */
  durable(pgId: string): void {
    const group = this.#groups.get(pgId);
    if (group) group.durable = true;
  }

  /** The journal refused it: it never was. */
  discard(pgId: string): GroupEffect[] {
    const group = this.#groups.get(pgId);
    if (!group) return [];
    this.#forget(group);
    return releaseAll(group);
  }

  /** Plans every group that finds room now. */
  schedule(nodes: NodeTable, nowMs: number): GroupEffect[] {
    const effects: GroupEffect[] = [];
    const ready = (pgId: string) => this.#groups.get(pgId)?.attempt === undefined;
    this.#queue.pass(nodes, nowMs, ready, (record, placement) => {
      effects.push(...this.#plan(this.#groups.get(record.pgId)!, placement, nodes, nowMs));
    });
    return effects;
  }

  #plan(group: Group, placement: Placement, nodes: NodeTable, nowMs: number): GroupEffect[] {
    const { record } = group;
    record.epoch = Math.max(record.epoch, this.#epochFloor) + 1;
    record.attempts++;
    const attempt: Attempt = { epoch: record.epoch, placement, nodes: new Map() };
    group.attempt = attempt;
    return [...byNode(placement)].map(([nodeId, placed]): GroupEffect => {
      const bundles: BundleAsk[] = placed.map(({ index, devices }) => ({
        index,
        units: record.bundles[index]!,
        devices: [...devices],
        ...(record.links && { links: record.links[index]! }),
      }));
      const nodeEpoch = nodes.record(nodeId)!.epoch;
      attempt.nodes.set(nodeId, { nodeEpoch, ok: false });
      const claim = nodes.claim(
        nodeId,
        sumUnits(bundles),
        bundles.flatMap((bundle) => bundle.devices),
        nowMs,
        false,
      );
      return { kind: "prepare", pgId: record.pgId, epoch: attempt.epoch, nodeId, nodeEpoch, bundles, claim };
    });
  }

  /**
   * A raylet's word about a prepare; `refusal` undefined is yes. A yes to an attempt that is over by now is taken back: its release may have
   * overtaken it.
   */
  prepared(
    ask: Pick<Extract<GroupEffect, { kind: "prepare" }>, "pgId" | "epoch" | "nodeId" | "bundles">,
    refusal: string | undefined,
    nowMs: number,
  ): GroupEffect[] {
    const { pgId, epoch, nodeId } = ask;
    const group = this.#groups.get(pgId);
    const attempt = group?.attempt;
    const node = attempt?.epoch === epoch ? attempt.nodes.get(nodeId) : undefined;
    if (!group || !attempt || !node) {
      const indices = ask.bundles.map((bundle) => bundle.index);
      return refusal === undefined ? [{ kind: "release", pgId, epoch, nodeId, indices }] : [];
    }
    if (refusal !== undefined) return this.#undo(group, `${nodeId}: ${refusal}`, nowMs);
    node.ok = true;
    if ([...attempt.nodes.values()].some((one) => !one.ok)) return [];
    for (const { index, nodeId: at, devices } of attempt.placement) {
      const { nodeEpoch } = attempt.nodes.get(at)!;
      group.record.places[index] = { nodeId: at, nodeEpoch, epoch, devices: [...devices], committed: false };
    }
    group.attempt = undefined;
    this.#queue.delete(pgId);
    advance(group.record, "prepared");
    return [{ kind: "save", pgId }];
  }

  /** Takes the whole attempt back, everywhere: also the node that refused may have prepared and lost its answer. */
  #undo(group: Group, reason: string, nowMs: number): GroupEffect[] {
    const { attempt, record } = group;
    if (!attempt) return [];
    group.attempt = undefined;
    this.#queue.refused(record.pgId, reason, nowMs);
    return [...byNode(attempt.placement)].map(([nodeId, placed]) => ({
      kind: "release",
      pgId: record.pgId,
      epoch: attempt.epoch,
      nodeId,
      indices: placed.map((one) => one.index),
    }));
  }

  /** The journal has the record as it was at `epoch`: a PREPARED group commits. */
  saved(pgId: string, epoch: number): GroupEffect[] {
    const record = this.#groups.get(pgId)?.record;
    if (record?.state !== "PREPARED" || record.epoch !== epoch) return [];
    return nodesOf(record).flatMap((nodeId) => this.#commit(record, nodeId));
  }

  #commit(record: GroupRecord, nodeId: string): GroupEffect[] {
    const byEpoch = new Map<number, number[]>();
    record.places.forEach((place, index) => {
      if (place?.nodeId !== nodeId || place.committed) return;
      byEpoch.set(place.epoch, [...(byEpoch.get(place.epoch) ?? []), index]);
    });
    return [...byEpoch].map(([epoch, indices]) => ({ kind: "commit", pgId: record.pgId, epoch, nodeId, indices }));
  }

  /** A raylet's word about a commit; `lost` says that it does not have these bundles (any more). */
  committed(
    pgId: string,
    epoch: number,
    nodeId: string,
    indices: readonly number[],
    lost: string | undefined,
    nowMs: number,
  ): GroupEffect[] {
    const group = this.#groups.get(pgId);
    if (!group) return [];
    const mine = indices.filter((index) => {
      const place = group.record.places[index];
      return place?.nodeId === nodeId && place.epoch === epoch;
    });
    // What the node has of them under an older epoch must not stay.
    if (lost !== undefined && mine.length > 0) return this.#giveUp(group, nodeId, mine, lost, nowMs);
    for (const index of mine) group.record.places[index]!.committed = true;
    return this.#whenWhole(group.record);
  }

  #whenWhole(record: GroupRecord): GroupEffect[] {
    if (record.state !== "PREPARED" || record.places.some((place) => !place?.committed)) return [];
    advance(record, "committed");
    return [
      { kind: "saveLater", pgId: record.pgId },
      { kind: "changed", pgId: record.pgId },
    ];
  }

  #lose(group: Group, indices: readonly number[], reason: string, nowMs: number): GroupEffect[] {
    const { record } = group;
    if (indices.length === 0) return [];
    for (const index of indices) record.places[index] = null;
    advance(record, "lost");
    this.#queue.add(record, group.order, nowMs);
    // An attempt that was planned around the lost bundles may break the strategy now.
    const effects = this.#undo(group, reason, nowMs);
    return [...effects, { kind: "save", pgId: record.pgId }, { kind: "changed", pgId: record.pgId, lost: reason }];
  }

  #giveUp(group: Group, nodeId: string, indices: number[], reason: string, nowMs: number): GroupEffect[] {
    const { pgId, epoch } = group.record;
    return [{ kind: "release", pgId, epoch, nodeId, indices }, ...this.#lose(group, indices, reason, nowMs)];
  }

  /** Bundles all of whose devices are lost get another place; one that has others left keeps them, and who runs there. */
  devicesLost(nodeId: string, lost: ReadonlySet<string>, nowMs: number): GroupEffect[] {
    return [...this.#groups.values()].flatMap((group) => {
      const gone = bundlesOn(group.record, nodeId, lost);
      return gone.length === 0 ? [] : this.#giveUp(group, nodeId, gone, "its devices were lost", nowMs);
    });
  }

  /** Only its bundles lose their place; the others and their actors go on (ray.md 2.5). */
  nodeDead(nodeId: string, reason: string, nowMs: number): GroupEffect[] {
    return [...this.#groups.values()].flatMap((group) => {
      const lost = group.record.places.flatMap((place, index) => (place?.nodeId === nodeId ? [index] : []));
      const undone = group.attempt?.nodes.has(nodeId) ? this.#undo(group, `${nodeId}: ${reason}`, nowMs) : [];
      return [...undone, ...this.#lose(group, lost, reason, nowMs)];
    });
  }

  /** A half-prepared attempt does not wait for a node that may be gone: it is rolled back at once (reliability F42). */
  nodeSuspect(nodeId: string, reason: string, nowMs: number): GroupEffect[] {
    return [...this.#groups.values()].flatMap((group) =>
      group.attempt?.nodes.has(nodeId) ? this.#undo(group, `${nodeId}: ${reason}`, nowMs) : [],
    );
  }

  /**
   * A raylet says which bundles it holds: what the table knows stays (and is committed if it was not), the rest is dropped, and what it
   * should hold but does not is lost.
   */
  announced(
    nodeId: string,
    nodeEpoch: number,
    bundles: readonly RunningBundle[],
    nowMs: number,
  ): { drop: RunningBundle[]; effects: GroupEffect[] } {
    const drop: RunningBundle[] = [];
    const held = new Set<string>();
    for (const bundle of bundles) {
      const group = this.#groups.get(bundle.pgId);
      const place = group?.record.places[bundle.index];
      const known = place?.nodeId === nodeId && place.nodeEpoch === nodeEpoch && place.epoch === bundle.epoch;
      if (known) {
        held.add(`${bundle.pgId} ${bundle.index}`);
        place.committed = bundle.committed;
      } else if (
        !(group?.attempt?.epoch === bundle.epoch && group.attempt.nodes.get(nodeId)?.nodeEpoch === nodeEpoch)
      ) {
        drop.push(bundle);
      }
    }
    const effects = [...this.#groups.values()].flatMap((group) => {
      const { record } = group;
      const here = record.places.flatMap((place, index) => (place?.nodeId === nodeId ? [index] : []));
      const lost = here.filter((index) => !held.has(`${record.pgId} ${index}`));
      if (here.length === 0) return [];
      // As with actors: bundles that were prepared after this list was made must not stay.
      const late: GroupEffect[] =
        lost.length === 0 ? [] : [{ kind: "release", pgId: record.pgId, epoch: record.epoch, nodeId, indices: lost }];
      return [
        ...late,
        ...this.#lose(group, lost, `${nodeId} came back without it`, nowMs),
        ...this.#commit(record, nodeId),
        ...this.#whenWhole(record),
      ];
    });
    return { drop, effects };
  }

  /** Idempotent; an unknown group is a no-op (Ray). Waiters get `error`, actors in it end. */
  remove(pgId: string, error = removedError(pgId, "it was removed")): GroupEffect[] {
    const group = this.#groups.get(pgId);
    if (!group) return [];
    const { record } = group;
    const releases = releaseAll(group);
    group.attempt = undefined;
    advance(record, "removed");
    this.#forget(group);
    this.#removed.set(pgId, { row: groupRow(record, [], () => undefined), error });
    if (this.#removed.size > REMOVED_GROUPS_KEPT) this.#removed.delete(this.#removed.keys().next().value!);
    return [
      { kind: "delete", pgId },
      { kind: "removed", pgId, reason: error.message },
      ...releases,
      { kind: "changed", pgId },
    ];
  }

  /** Groups whose deadline has passed are removed with what was missing. One in the middle of an attempt ends that first. */
  tick(nodes: NodeTable, nowMs: number): GroupEffect[] {
    return [...this.#groups.values()].flatMap((group) => {
      const late = group.deadlineMs !== undefined && nowMs >= group.deadlineMs;
      const unplaced = group.record.state === "PENDING" && group.durable && !group.attempt;
      return late && unplaced
        ? this.remove(group.record.pgId, timeoutError(group.record, this.reasons(group.record.pgId, nodes)))
        : [];
    });
  }

  /** Ids of non-detached groups whose creator is gone: their job (unless an actor made them), or that actor (on its restart too). */
  ownedBy(owner: { jobId: string } | { actorId: string }): string[] {
    return [...this.#groups.values()].flatMap(({ record }) => {
      if (record.detached) return [];
      const mine =
        "actorId" in owner
          ? record.creatorActor === owner.actorId
          : !record.creatorActor && record.jobId === owner.jobId;
      return mine ? [record.pgId] : [];
    });
  }

  /** Why it waits, by bundle; empty unless PENDING or RESCHEDULING (and while raylets are being asked). */
  reasons(pgId: string, nodes: NodeTable): WaitReason[] {
    const waiting = this.#queue.get(pgId);
    if (!waiting || this.#groups.get(pgId)?.attempt) return [];
    const request = missingOf(waiting.record);
    const found = whyNot(request, nodes.index(), nodes.totals());
    if (found.length > 0) return found;
    const text = this.#queue.whyNotYet(waiting, request, nodes);
    return [{ bundle: request.bundles[0]?.index ?? 0, kind: "busy", text: text.slice(0, 2_048), missing: {} }];
  }

  /** Groups that have found no place for `WAITING_TOLD_AFTER_MS` since this was asked last; each is told once a wait. */
  stuck(nowMs: number): string[] {
    return this.#queue.stuck(nowMs);
  }

  /** What actors may use: rooms without what starving groups hold. */
  rooms(nodes: NodeTable): Rooms {
    return this.#queue.rooms(nodes);
  }

  /** What starving groups hold, by node. */
  holds(): ReadonlyMap<string, ResourceUnits> {
    return this.#queue.holds();
  }

  record(pgId: string): Readonly<GroupRecord> | undefined {
    return this.#groups.get(pgId)?.record;
  }

  /** The error for waiters of a group that was removed lately. */
  removedError(pgId: string): WhiprayError | undefined {
    return this.#removed.get(pgId)?.error;
  }

  byName(namespace: string, name: string): string | undefined {
    return this.#names.get(nameKey(namespace, name));
  }

  row(pgId: string, nodes: NodeTable): GroupRow | undefined {
    const record = this.record(pgId);
    if (!record) return this.#removed.get(pgId)?.row;
    return groupRow(record, this.reasons(pgId, nodes), (nodeId) => nodes.topology(nodeId));
  }

  ids(): string[] {
    return [...this.#groups.keys()];
  }

  #add(record: GroupRecord, deadlineMs: number | undefined): Group {
    const group: Group = { record, order: ++this.#order, deadlineMs, durable: false, attempt: undefined };
    this.#groups.set(record.pgId, group);
    this.#bundles += record.bundles.length;
    if (record.name !== undefined) this.#names.set(nameKey(record.namespace, record.name), record.pgId);
    return group;
  }

  #forget({ record }: Group): void {
    this.#groups.delete(record.pgId);
    this.#bundles -= record.bundles.length;
    this.#queue.delete(record.pgId);
    if (record.name !== undefined) this.#names.delete(nameKey(record.namespace, record.name));
  }
}
