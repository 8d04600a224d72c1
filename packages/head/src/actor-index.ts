import type { ActorRecord } from "./actor-record.ts";
import { DEAD_ACTORS_KEPT } from "./limits.ts";
import { nameKey } from "./names.ts";

/**
 * What happens to an actor between the states that others see. `new`: the journal does not have it yet; `planned`: its place is being
 * journalled; `starting`: a raylet was asked; `stopping`: its old process must be gone before it starts again.
 */
export type Phase = "new" | "waiting" | "planned" | "starting" | "alive" | "stopping" | "dead";

export interface Actor {
  readonly record: ActorRecord;
  /** Changed by `ActorIndex.enter` only. */
  phase: Phase;
  sinceMs: number;
  notBeforeMs: number;
  refusals: number;
  lastRefusal?: string | undefined;
  readonly avoid: Set<string>;
  /** Claim on its node, until the raylet answers. */
  claim?: { nodeId: string; id: number } | undefined;
}

/** Finds actors by id, by name, by group, and those that wait for a place. Names are free again once their actor is dead. */
export class ActorIndex {
  readonly all = new Map<string, Actor>();
  readonly live = new Map<string, Actor>();
  readonly waiting = new Set<Actor>();
  readonly #names = new Map<string, string>();
  readonly #ofGroup = new Map<string, Set<Actor>>();

  add(record: ActorRecord, phase: Phase, nowMs: number): void {
    const { actorId, name, namespace, pgId } = record.spec;
    const actor: Actor = { record, phase, sinceMs: nowMs, notBeforeMs: nowMs, refusals: 0, avoid: new Set() };
    this.all.set(actorId, actor);
    if (phase === "dead") return;
    this.live.set(actorId, actor);
    if (name !== undefined) this.#names.set(nameKey(namespace, name), actorId);
    if (pgId !== undefined) this.#ofGroup.set(pgId, (this.#ofGroup.get(pgId) ?? new Set()).add(actor));
    this.enter(actor, phase);
  }

  enter(actor: Actor, phase: Phase): void {
    actor.phase = phase;
    if (phase === "waiting") this.waiting.add(actor);
    else this.waiting.delete(actor);
    if (phase === "dead") this.#bury(actor);
  }

  /** As if it had never been. */
  remove(actorId: string): void {
    const actor = this.all.get(actorId);
    if (actor) this.#bury(actor);
    this.all.delete(actorId);
  }

  #bury(actor: Actor): void {
    const { actorId, name, namespace, pgId } = actor.record.spec;
    this.live.delete(actorId);
    this.waiting.delete(actor);
    const members = pgId === undefined ? undefined : this.#ofGroup.get(pgId);
    members?.delete(actor);
    if (pgId !== undefined && members?.size === 0) this.#ofGroup.delete(pgId);
    if (name === undefined) return;
    const key = nameKey(namespace, name);
    if (this.#names.get(key) === actorId) this.#names.delete(key);
  }

  byName(namespace: string, name: string): string | undefined {
    return this.#names.get(nameKey(namespace, name));
  }

  /** Live actors that belong to a group. */
  ofGroup(pgId: string): Iterable<Actor> {
    return this.#ofGroup.get(pgId) ?? [];
  }

  /** Forgets the oldest dead actors beyond the limit, and says which. */
  evict(): string[] {
    let surplus = this.all.size - this.live.size - DEAD_ACTORS_KEPT;
    const evicted: string[] = [];
    if (surplus <= 0) return evicted;
    for (const [actorId, { phase }] of this.all) {
      if (surplus <= 0) break;
      if (phase !== "dead") continue;
      this.all.delete(actorId);
      evicted.push(actorId);
      surplus--;
    }
    return evicted;
  }
}
