import { type AbortOptions, abortable } from "@whipray/core";
import { type ActorRow, actorByName, actorNameFreed, type Peer } from "@whipray/rpc";
import type { Driver } from "./driver.ts";

/** Names that a process remembers; the oldest go first. */
export const NAMES_KEPT = 1_000;

interface Known {
  readonly actor: ActorRow;
  /** By both clocks: one stands still while a machine sleeps, the other one may be set. */
  readonly untilMs: number;
  readonly fromWallMs: number;
  readonly leaseMs: number;
  /** Who gave the lease and would take it back. */
  readonly head: Peer;
  readonly incarnation: string;
}

/**
 * Lookups of actors by name. The head lets this process answer for a moment, and before anybody hears that such an actor is dead it waits until
 * this process has forgotten it, or until the moment is over (PROTOCOL.md, "Actors"). Without a connection over which the head could say so, it is asked.
 */
export class NamedActors {
  readonly #driver: Driver;
  readonly #known = new Map<string, Known>();
  /** Counts what was forgotten: an answer that was under way meanwhile is not remembered. */
  #freed = 0;

  constructor(driver: Driver) {
    this.#driver = driver;
    driver.connection.endpoint.serve(actorNameFreed, ({ name, namespace }) => {
      this.#freed++;
      this.#known.delete(`${namespace}/${name}`);
      return null;
    });
  }

  /** @throws WhiprayError `ACTOR_NOT_FOUND`, and what `Driver.ask` throws. */
  find(name: string, namespace: string, options: AbortOptions = {}): Promise<ActorRow> {
    const key = `${namespace}/${name}`;
    const known = this.#known.get(key);
    if (!known || !this.#holds(known)) return this.#ask(key, name, namespace, options);
    return abortable(options.signal, async () => known.actor);
  }

  #holds({ untilMs, fromWallMs, leaseMs, head, incarnation }: Known): boolean {
    const { clock } = this.#driver.connection;
    const passedWallMs = clock.wallMs() - fromWallMs;
    if (clock.now() >= untilMs || passedWallMs < 0 || passedWallMs >= leaseMs) return false;
    return this.#driver.head === head && head.hasRoute && head.incarnation === incarnation;
  }

  async #ask(key: string, name: string, namespace: string, options: AbortOptions): Promise<ActorRow> {
    const { head, connection } = this.#driver;
    const { clock } = connection;
    const { incarnation } = head;
    const [nowMs, fromWallMs, freed] = [clock.now(), clock.wallMs(), this.#freed];
    const { actor, leaseMs } = await this.#driver.ask(actorByName, { name, namespace, lease: true }, options);
    this.#known.delete(key);
    if (leaseMs === undefined || freed !== this.#freed) return actor;
    if (this.#known.size >= NAMES_KEPT) this.#known.delete(this.#known.keys().next().value!);
    this.#known.set(key, { actor, untilMs: nowMs + leaseMs, fromWallMs, leaseMs, head, incarnation });
    return actor;
  }
}
