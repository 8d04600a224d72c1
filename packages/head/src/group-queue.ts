import { addUnits, type ResourceUnits } from "@whipray/core";
import { type GroupRecord, missingOf } from "./group-record.ts";
import { REFUSED_FIRST_MS, REFUSED_MAX_MS, RESERVATIONS_LIMIT, WAITING_TOLD_AFTER_MS } from "./limits.ts";
import type { NodeTable } from "./node-table.ts";
import { whyNot } from "./placement/explain.ts";
import { place } from "./placement/place.ts";
import { type Placement, type PlaceRequest, shapeOf } from "./placement/request.ts";
import { type Reservation, reserve, without } from "./placement/reserve.ts";
import type { Rooms } from "./placement/room-index.ts";

/** A group that waits for its bundles (or some of them) to be placed. */
export interface Waiting {
  readonly record: GroupRecord;
  readonly order: number;
  readonly sinceMs: number;
  /** Not tried before, after refusals in a row. */
  notBeforeMs: number;
  refusals: number;
  lastRefusal?: string | undefined;
  /** It was among the `stuck`. */
  told?: boolean;
  reservation?: Reservation | undefined;
  /** Value of `NodeTable.changes` plus our own when it last found no place. */
  triedAt?: number | undefined;
}

interface Held {
  readonly pgId: string;
  readonly sinceMs: number;
  readonly request: PlaceRequest;
  readonly reservation: Reservation;
}

/**
 * Whose turn it is. Groups that lost a node come first, then by age; whoever finds room goes, all independently (Ray: one at a
 * time). One that waited longer than `starvationMs` and could be placed in an emptied cluster holds what frees up on the nodes it waits
 * for; younger ones and actors pass only where they do not take of that (design.md, mechanism 4).
 */
export class GroupQueue {
  readonly #waiting = new Map<string, Waiting>();
  readonly #starvationMs: number;
  #held: Held[] = [];
  #changes = 0;

  constructor(starvationMs: number) {
    this.#starvationMs = starvationMs;
  }

  get size(): number {
    return this.#waiting.size;
  }

  add(record: GroupRecord, order: number, nowMs: number): void {
    if (this.#waiting.has(record.pgId)) return;
    this.#waiting.set(record.pgId, { record, order, sinceMs: nowMs, notBeforeMs: nowMs, refusals: 0 });
  }

  delete(pgId: string): void {
    if (!this.#waiting.delete(pgId)) return;
    this.#held = this.#held.filter((held) => held.pgId !== pgId);
    this.#changes++;
  }

  get(pgId: string): Waiting | undefined {
    return this.#waiting.get(pgId);
  }

  /** A raylet said no. The first time the group is tried again at once with the fresh view, later with growing waits (Ray: 100 ms × 1.5 to 1 s). */
  refused(pgId: string, reason: string, nowMs: number): void {
    const waiting = this.#waiting.get(pgId);
    if (!waiting) return;
    waiting.refusals++;
    waiting.lastRefusal = reason;
    waiting.triedAt = undefined;
    waiting.notBeforeMs = nowMs + refusedWaitMs(waiting.refusals);
  }

  /** Gives a placement to every group that can have one now, oldest first. `take` books it before the next one is looked at. */
  pass(
    nodes: NodeTable,
    nowMs: number,
    ready: (pgId: string) => boolean,
    take: (record: GroupRecord, placement: Placement) => void,
  ): void {
    this.#held = [];
    const index = () => nodes.index();
    // Room only shrinks while groups are looked at: what one does not find, its likes do not find either.
    const noRoom = new Set<string>();
    for (const waiting of this.#inOrder()) {
      if (!ready(waiting.record.pgId)) continue;
      const request = missingOf(waiting.record);
      const stamp = nodes.changes + this.#changes;
      if (nowMs >= waiting.notBeforeMs && waiting.triedAt !== stamp) {
        const likeness = likenessOf(request);
        const placement = noRoom.has(likeness) ? undefined : place(request, without(index(), this.#held).few(request));
        if (placement) {
          waiting.reservation = undefined;
          take(waiting.record, placement);
          continue;
        }
        noRoom.add(likeness);
        waiting.triedAt = stamp;
      }
      this.#starve(waiting, request, nodes, nowMs);
    }
  }

  /** Who has waited for long by now, each once. */
  stuck(nowMs: number): string[] {
    return [...this.#waiting.values()].flatMap((waiting) => {
      if (waiting.told || nowMs - waiting.sinceMs < WAITING_TOLD_AFTER_MS) return [];
      waiting.told = true;
      return [waiting.record.pgId];
    });
  }

  #inOrder(): Waiting[] {
    const rank = ({ record }: Waiting) => (record.state === "RESCHEDULING" ? 0 : 1);
    return [...this.#waiting.values()].sort((a, b) => rank(a) - rank(b) || a.order - b.order);
  }

  #starve(waiting: Waiting, request: PlaceRequest, nodes: NodeTable, nowMs: number): void {
    if (nowMs - waiting.sinceMs < this.#starvationMs || this.#held.length >= RESERVATIONS_LIMIT) return;
    const index = nodes.index();
    const stands = waiting.reservation?.values().every((nodeId) => index.get(nodeId) !== undefined);
    if (!stands) {
      waiting.reservation = reserve(request, without(index, this.#held).all(), nodes.totals().all());
      if (waiting.reservation) this.#changes++;
    }
    const { reservation, sinceMs, record } = waiting;
    if (reservation) this.#held.push({ pgId: record.pgId, sinceMs, request, reservation });
  }

  /** What others may use: the rooms without what starving groups hold, or only those in front of `beforePgId`. */
  rooms(nodes: NodeTable, beforePgId?: string): Rooms {
    return without(nodes.index(), this.heldBefore(beforePgId));
  }

  /** What starving groups hold, by node. */
  holds(): Map<string, ResourceUnits> {
    const holds = new Map<string, ResourceUnits>();
    for (const { request, reservation } of this.#held) {
      for (const { index, units } of request.bundles) {
        const nodeId = reservation.get(index);
        if (nodeId !== undefined) holds.set(nodeId, addUnits(holds.get(nodeId) ?? {}, units));
      }
    }
    return holds;
  }

  /** Why a group waits for which there is room, unless somebody in front of it holds that. */
  whyNotYet({ record, lastRefusal }: Waiting, request: PlaceRequest, nodes: NodeTable): string {
    const held = whyNot(request, this.rooms(nodes, record.pgId), nodes.totals()).length > 0;
    if (held) return `held back for ${this.heldBefore(record.pgId)[0]?.pgId}, which has waited longer`;
    if (lastRefusal) return `a raylet refused, the next try follows; ${lastRefusal}`;
    return "its turn comes with the next round";
  }

  heldBefore(pgId?: string): readonly Held[] {
    const at = this.#held.findIndex((held) => held.pgId === pgId);
    return at < 0 ? this.#held : this.#held.slice(0, at);
  }
}

/** Equal for groups that look for the same. */
function likenessOf({ strategy, bundles, keptNodeIds }: PlaceRequest): string {
  return JSON.stringify([strategy, keptNodeIds, bundles.map(shapeOf)]);
}

/** Wait after so many refusals in a row: none after the first. */
export function refusedWaitMs(refusals: number): number {
  return refusals <= 1 ? 0 : Math.min(REFUSED_MAX_MS, REFUSED_FIRST_MS * 1.5 ** (refusals - 2));
}
