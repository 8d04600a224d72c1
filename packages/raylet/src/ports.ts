import { type RandomSource, WhiprayError } from "@whipray/core";
import { type PortLease, type PortRange, PortTable } from "./port-table.ts";

/** Runs `change` on the host's table alone: nobody else sees or changes it meanwhile. What it throws changes nothing. */
export interface PortStore {
  transact<Result>(change: (table: PortTable) => Result): Result;
  close(): void;
}

/** Whether nobody listens on a port. */
export type PortProbe = (port: number) => Promise<boolean>;

/** Rounds of test and retry: each leaves out what was found busy. */
const ROUNDS_LIMIT = 64;

/**
 * Leases of this host's ports (design.md, mechanism 13): in the table first, then bind-tested, and changed for others where a
 * stranger was faster.
 *
 * What is not possible: Node can only bind by listening, so a port is not held by a socket of ours between this test and the
 * consumer's own bind. Two users of the table never meet; a stranger who takes the port meanwhile makes the consumer's bind
 * fail with EADDRINUSE, for which the caller leases another: the scheduler's `rendezvous` and `launch_server` do.
 */
export class Ports {
  readonly #store: PortStore;
  readonly #probe: PortProbe;
  readonly #random: RandomSource;
  readonly #raylet: string;

  /** `raylet` is the incarnation under which the leases stand. */
  constructor(options: { store: PortStore; probe: PortProbe; random: RandomSource; raylet: string }) {
    this.#store = options.store;
    this.#probe = options.probe;
    this.#random = options.random;
    this.#raylet = options.raylet;
  }

  /** @throws WhiprayError `PORTS_EXHAUSTED`, `PORT_LIMIT`: then none is held. */
  async lease(count: number, owner: string): Promise<number[]> {
    const good: number[] = [];
    const tried = new Set<number>();
    try {
      for (let round = 0; good.length < count && round < ROUNDS_LIMIT; round++) {
        const wanted = count - good.length;
        const taken = this.#store.transact((table) => table.take(wanted, owner, this.#raylet, tried, this.#random));
        const free = await Promise.all(taken.map(({ port }) => this.#probe(port)));
        const busy = taken.filter((_, at) => !free[at]).map(({ port }) => port);
        good.push(...taken.filter((_, at) => free[at]).map(({ port }) => port));
        for (const port of busy) tried.add(port);
        if (busy.length > 0) this.release(owner, busy);
      }
      if (good.length === count) return good;
      throw new WhiprayError({
        code: "PORTS_EXHAUSTED",
        message: `${count} ports were asked for; somebody listens on ${tried.size} of those that were tried`,
        retryable: true,
        details: { count, found: good.length, busy: tried.size },
      });
    } catch (error) {
      this.release(owner, good);
      throw error;
    }
  }

  release(owner: string, ports?: readonly number[]): void {
    this.#store.transact((table) => table.give(owner, this.#raylet, ports));
  }

  /** Gives back everything that this raylet holds. */
  close(): void {
    this.#store.transact((table) => table.forget((raylet) => raylet !== this.#raylet));
    this.#store.close();
  }
}

/** The in-memory twin of `PortFile`: one host of a simulation. */
export class MemoryPortStore implements PortStore {
  #leases: PortLease[] = [];
  readonly #range: PortRange;

  constructor(range: PortRange) {
    this.#range = range;
  }

  transact<Result>(change: (table: PortTable) => Result): Result {
    const table = new PortTable(this.#range, this.#leases);
    const result = change(table);
    this.#leases = table.leases();
    return result;
  }

  close(): void {}
}
