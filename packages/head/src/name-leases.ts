import type { Clock } from "@whipray/core";
import { actorNameFreed, type Peer } from "@whipray/rpc";
import { NAME_LEASE_MS, NAME_LEASES_LIMIT } from "./limits.ts";
import { nameKey } from "./names.ts";

interface Named {
  readonly namespace: string;
  readonly name: string;
}

/**
 * Who may answer a lookup of a name by itself, and until when. Before anybody hears that the name's actor is dead, each of them has confirmed
 * that it forgot it, or its lease is over: so nobody who can know of an actor's end gets it by its name (PROTOCOL.md, "Actors").
 */
export class NameLeases {
  readonly #clock: Clock;
  /** Leases that an earlier head gave may last until then. */
  readonly #quietAtMs: number;
  readonly #holders = new Map<string, Map<Peer, number>>();
  readonly #freed = new Map<string, Promise<void>>();
  #count = 0;

  constructor(clock: Clock, restarted: boolean) {
    this.#clock = clock;
    this.#quietAtMs = restarted ? clock.now() + NAME_LEASE_MS : Number.NEGATIVE_INFINITY;
  }

  /** How long `peer` may answer for the head, from when it asked; undefined: it has to ask each time. */
  grant({ namespace, name }: Named, peer: Peer): number | undefined {
    const nowMs = this.#clock.now();
    if (this.#count >= NAME_LEASES_LIMIT) this.#dropEnded(nowMs);
    const key = nameKey(namespace, name);
    const holders = this.#holders.get(key) ?? new Map<Peer, number>();
    if (!holders.has(peer)) {
      if (this.#count >= NAME_LEASES_LIMIT) return undefined;
      this.#count++;
    }
    this.#holders.set(key, holders.set(peer, nowMs + NAME_LEASE_MS));
    return NAME_LEASE_MS;
  }

  /** The name's actor is dead. Resolves when nobody answers with it any more; undefined: nobody does. */
  free(named: Named): Promise<void> | undefined {
    const key = nameKey(named.namespace, named.name);
    const holders = this.#holders.get(key) ?? new Map<Peer, number>();
    this.#holders.delete(key);
    this.#count -= holders.size;
    const nowMs = this.#clock.now();
    const ends = [...holders].flatMap(([peer, endMs]) => (endMs > nowMs ? [this.#tell(peer, named, endMs)] : []));
    ends.push(...[this.#freed.get(key) ?? [], this.#quiet() ?? []].flat());
    if (ends.length === 0) return undefined;
    const freed = Promise.all(ends).then(() => {
      if (this.#freed.get(key) === freed) this.#freed.delete(key);
    });
    this.#freed.set(key, freed);
    return freed;
  }

  /** Until when nothing may be told of a dead actor of this name, or of all of them. Undefined: now it may. */
  until(named?: Named): Promise<unknown> | undefined {
    const freed = named ? this.#freed.get(nameKey(named.namespace, named.name)) : undefined;
    if (freed) return freed;
    if (!named && this.#freed.size > 0) return Promise.all(this.#freed.values());
    return this.#quiet();
  }

  #quiet(): Promise<void> | undefined {
    const leftMs = this.#quietAtMs - this.#clock.now();
    return leftMs > 0 ? new Promise((resolve) => this.#clock.after(leftMs, resolve)) : undefined;
  }

  /** A process that does not confirm may live all the same: its lease ends by its own clock then. */
  #tell(peer: Peer, { namespace, name }: Named, endMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(endMs - this.#clock.now(), resolve);
      peer.invoke(actorNameFreed, { namespace, name }).then(
        () => {
          timer.cancel();
          resolve();
        },
        () => {}, // the timer
      );
    });
  }

  #dropEnded(nowMs: number): void {
    for (const [key, holders] of this.#holders) {
      for (const [peer, endMs] of holders) if (endMs <= nowMs && holders.delete(peer)) this.#count--;
      if (holders.size === 0) this.#holders.delete(key);
    }
  }
}
