import type { Clock, Logger } from "@whipray/core";
import type { NodeStore } from "@whipray/objects";
import type { Endpoint, Peer } from "@whipray/rpc";

/** How long an owner may be out of reach while the way to it is there (driverGraceMs). */
export const OWNER_GRACE_MS = 30_000;
const OWNER_RETRY_MS = 1_000;

export interface ObjectPeersOptions {
  readonly endpoint: Pick<Endpoint, "connect">;
  readonly store: Pick<NodeStore, "holderGone" | "ownerGone">;
  readonly clock: Clock;
  readonly logger: Logger;
  /** URL that leads to a process: its socket on this node, else the head. */
  readonly urlOf: (address: string) => string;
  /** While the head is away nobody who is reached through it can be told from one that is gone. */
  readonly headIsAway: () => boolean;
}

/** The other side said that the process ended: it does not come back under its incarnation. */
const ENDED: ReadonlySet<string> = new Set([
  "GOODBYE",
  "WORKER_CRASHED",
  "ACTOR_DIED",
  "NODE_DIED",
  "OWNER_DIED",
  "PEER_RESTARTED",
]);

/** `address incarnation`: how the store knows a process. */
export function processName({ address, incarnation }: Pick<Peer, "address" | "incarnation">): string {
  return `${address} ${incarnation}`;
}

/** The processes behind the objects: what one holds and owns ends with its session. */
export class ObjectPeers {
  readonly #options: ObjectPeersOptions;
  readonly #known = new Set<Peer>();
  /** Owners that may never have come to us: a session of ours tells when they are gone. */
  readonly #watched = new Set<string>();

  constructor(options: ObjectPeersOptions) {
    this.#options = options;
  }

  /** The name of whoever asks; from now on his end is noticed. */
  asker(peer: Peer): string {
    const name = processName(peer);
    if (this.#known.has(peer)) return name;
    this.#known.add(peer);
    peer.onClose(() => {
      this.#known.delete(peer);
      if (![...this.#known].some((other) => processName(other) === name)) this.#gone(name);
    });
    return name;
  }

  /** The session of who asked under this name. */
  find(name: string): Peer | undefined {
    for (const peer of this.#known) if (!peer.closed && processName(peer) === name) return peer;
    return undefined;
  }

  /** Notices the end of an owner. */
  watch(owner: string): void {
    if (this.#watched.has(owner) || [...this.#known].some((peer) => processName(peer) === owner)) return;
    this.#watched.add(owner);
    this.#follow(owner, undefined);
  }

  /** A process of this node ended. */
  ended(address: string): void {
    for (const peer of this.#known) if (peer.address === address) this.#gone(processName(peer));
    for (const owner of this.#watched) if (owner.startsWith(`${address} `)) this.#end(owner);
  }

  #follow(owner: string, awaySince: number | undefined): void {
    const { endpoint, urlOf, clock, headIsAway } = this.#options;
    const [address = "", incarnation = ""] = owner.split(" ");
    const peer = endpoint.connect({ to: address, url: urlOf(address), purpose: "data" });
    peer.onReset(() => {
      if (peer.incarnation !== incarnation) this.#end(owner);
    });
    peer.onClose(({ code }) => {
      const reached = peer.incarnation === incarnation;
      const since = headIsAway() || reached ? clock.now() : (awaySince ?? clock.now());
      const another = !reached && peer.incarnation !== "";
      if (ENDED.has(code) || another || clock.now() - since >= OWNER_GRACE_MS) this.#end(owner);
      else clock.after(OWNER_RETRY_MS, () => this.#watched.has(owner) && this.#follow(owner, since));
    });
  }

  #end(owner: string): void {
    if (this.#watched.delete(owner)) this.#gone(owner);
  }

  #gone(name: string): void {
    const { store, logger } = this.#options;
    logger.debug("objects of a process end", { process: name });
    store.holderGone(name);
    store.ownerGone(name);
  }
}
