import type { Clock } from "@whipray/core";
import type { Endpoint, Peer } from "./call.ts";

/** How long a process may be out of reach while the way to it is there (driverGraceMs). */
export const PROCESS_GRACE_MS = 30_000;
const RETRY_MS = 1_000;

/** The other side said that the process ended: it does not come back under its incarnation. */
const ENDED: ReadonlySet<string> = new Set([
  "GOODBYE",
  "WORKER_CRASHED",
  "ACTOR_DIED",
  "NODE_DIED",
  "OWNER_DIED",
  "PEER_RESTARTED",
]);

export interface ProcessWatchOptions {
  readonly endpoint: Pick<Endpoint, "connect">;
  readonly clock: Clock;
  /** URL that leads to a process. */
  readonly urlOf: (address: string) => string;
  /** While the head is away nobody who is reached through it can be told from one that is gone. */
  readonly headIsAway: () => boolean;
}

/** `address incarnation`: one process for life. */
export function processName({ address, incarnation }: Pick<Peer, "address" | "incarnation">): string {
  return `${address} ${incarnation}`;
}

/** Notices the end of processes that may never come to us: a session of ours tells. */
export class ProcessWatch {
  readonly #options: ProcessWatchOptions;
  readonly #ends = new Map<string, () => void>();

  constructor(options: ProcessWatchOptions) {
    this.#options = options;
  }

  /** Calls `ended` once. A second one for the same process takes the place of the first. */
  follow(name: string, ended: () => void): void {
    const known = this.#ends.has(name);
    this.#ends.set(name, ended);
    if (!known) this.#follow(name, undefined);
  }

  forget(name: string): void {
    this.#ends.delete(name);
  }

  follows(name: string): boolean {
    return this.#ends.has(name);
  }

  /** Whoever says so knows: those whose names begin like this ended. */
  ended(start: string): void {
    for (const name of [...this.#ends.keys()]) if (name.startsWith(start)) this.#end(name);
  }

  #follow(name: string, awaySince: number | undefined): void {
    const { endpoint, urlOf, clock, headIsAway } = this.#options;
    const [address = "", incarnation = ""] = name.split(" ");
    const peer = endpoint.connect({ to: address, url: urlOf(address), purpose: "data" });
    peer.onReset(() => {
      if (peer.incarnation !== incarnation) this.#end(name);
    });
    peer.onClose(({ code }) => {
      const reached = peer.incarnation === incarnation;
      const since = headIsAway() || reached ? clock.now() : (awaySince ?? clock.now());
      const another = !reached && peer.incarnation !== "";
      if (ENDED.has(code) || another || clock.now() - since >= PROCESS_GRACE_MS) this.#end(name);
      else clock.after(RETRY_MS, () => this.#ends.has(name) && this.#follow(name, since));
    });
  }

  #end(name: string): void {
    const ended = this.#ends.get(name);
    this.#ends.delete(name);
    ended?.();
  }
}
