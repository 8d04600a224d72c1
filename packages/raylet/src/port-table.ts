import { type RandomSource, WhiprayError } from "@whipray/core";

/** Ports that we hand out, unless the kernel's ephemeral range begins lower (areal.md 1.3: 10 000 to 32 767). */
export const FIRST_PORT = 10_000;
export const LAST_PORT = 32_767;
/** Ports that one owner may hold. */
export const PORTS_PER_OWNER_LIMIT = 1_024;

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/**
 * The range below the kernel's ephemeral ports: a port inside that range can be taken by any outgoing connection between
 * our test and its use. `text` is /proc/sys/net/ipv4/ip_local_port_range; unreadable (undefined) means Linux' default.
 * @throws WhiprayError `NO_PORT_RANGE` when nothing is left below it.
 */
export function portRange(text: string | undefined): PortRange {
  const lowest = Number(/^\s*(\d{1,5})\s+(\d{1,5})/.exec(text ?? "")?.[1] ?? LAST_PORT + 1);
  const last = Math.min(LAST_PORT, lowest - 1);
  if (last >= FIRST_PORT) return { first: FIRST_PORT, last };
  throw new WhiprayError({
    code: "NO_PORT_RANGE",
    message: `ephemeral ports of this machine begin at ${lowest}: none are left from ${FIRST_PORT} on; raise net.ipv4.ip_local_port_range`,
    details: { lowest, first: FIRST_PORT },
  });
}

/** A port that somebody holds. `raylet` names the process whose death ends the lease. */
export interface PortLease {
  readonly port: number;
  readonly owner: string;
  readonly raylet: string;
}

/** What one host has given out. The store's twins keep it in a file under a lock, or in memory. Pure. */
export class PortTable {
  readonly #leases = new Map<number, PortLease>();
  readonly range: PortRange;

  constructor(range: PortRange, leases: Iterable<PortLease> = []) {
    this.range = range;
    for (const lease of leases) this.#leases.set(lease.port, lease);
  }

  /**
   * Takes `count` ports from a random place on, so that two users of one table seldom race for the same ones.
   * @throws WhiprayError `PORTS_EXHAUSTED` (retryable), `PORT_LIMIT`: then none is taken.
   */
  take(count: number, owner: string, raylet: string, tried: ReadonlySet<number>, random: RandomSource): PortLease[] {
    const held = this.of(owner, raylet).length;
    if (held + count > PORTS_PER_OWNER_LIMIT) {
      throw new WhiprayError({
        code: "PORT_LIMIT",
        message: `${owner} holds ${held} ports and asks for ${count} more; the limit is ${PORTS_PER_OWNER_LIMIT}`,
        details: { owner, held, count, limit: PORTS_PER_OWNER_LIMIT },
      });
    }
    const { first, last } = this.range;
    const size = last - first + 1;
    const start = random.below(size);
    const taken: PortLease[] = [];
    for (let step = 0; step < size && taken.length < count; step++) {
      const port = first + ((start + step) % size);
      if (!this.#leases.has(port) && !tried.has(port)) taken.push({ port, owner, raylet });
    }
    if (taken.length < count) {
      throw new WhiprayError({
        code: "PORTS_EXHAUSTED",
        message: `${count} ports were asked for; ${taken.length} of ${first} to ${last} are left on this host`,
        retryable: true,
        details: { count, left: taken.length, first, last },
      });
    }
    for (const lease of taken) this.#leases.set(lease.port, lease);
    return taken;
  }

  of(owner: string, raylet: string): PortLease[] {
    return [...this.#leases.values()].filter((lease) => lease.owner === owner && lease.raylet === raylet);
  }

  /** Gives ports of this owner back, all when none are named. Ports of others are left alone. */
  give(owner: string, raylet: string, ports?: readonly number[]): number[] {
    const mine = this.of(owner, raylet).filter(({ port }) => ports === undefined || ports.includes(port));
    for (const { port } of mine) this.#leases.delete(port);
    return mine.map(({ port }) => port);
  }

  /** Drops what raylets held that are no more. */
  forget(alive: (raylet: string) => boolean): void {
    for (const lease of [...this.#leases.values()]) if (!alive(lease.raylet)) this.#leases.delete(lease.port);
  }

  leases(): PortLease[] {
    return [...this.#leases.values()];
  }
}
