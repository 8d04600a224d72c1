import type { Logger } from "@whipray/core";
import type { NodeStore } from "@whipray/objects";
import type { Endpoint, Peer } from "@whipray/rpc";

export interface ObjectPeersOptions {
  readonly endpoint: Endpoint;
  readonly store: NodeStore;
  readonly logger: Logger;
  /** URL that leads to a process: its socket on this node, else the head. */
  readonly urlOf: (address: string) => string;
}

/** `address incarnation`: how the store knows a process. */
export function processName({ address, incarnation }: Pick<Peer, "address" | "incarnation">): string {
  return `${address} ${incarnation}`;
}

/** The processes behind the objects: what one holds and owns ends with its session. */
export class ObjectPeers {
  readonly #options: ObjectPeersOptions;
  readonly #known = new Set<Peer>();
  /** Owners that did not come to us: a session of ours tells when they are gone. */
  readonly #watched = new Map<string, Peer>();

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

  /** Notices the end of an owner who may never have talked to us. */
  watch(owner: string): void {
    if (this.#watched.has(owner) || [...this.#known].some((peer) => processName(peer) === owner)) return;
    const [address = "", incarnation = ""] = owner.split(" ");
    const { endpoint, urlOf } = this.#options;
    const peer = endpoint.connect({ to: address, url: urlOf(address), purpose: "data" });
    this.#watched.set(owner, peer);
    const end = (): void => {
      if (this.#watched.delete(owner)) this.#gone(owner);
    };
    peer.onClose(end);
    peer.onReset(() => {
      if (peer.incarnation !== incarnation) end();
    });
  }

  /** A process of this node ended. */
  ended(address: string): void {
    for (const peer of this.#known) if (peer.address === address) this.#gone(processName(peer));
    for (const owner of this.#watched.keys()) {
      if (owner.startsWith(`${address} `) && this.#watched.delete(owner)) this.#gone(owner);
    }
  }

  #gone(name: string): void {
    const { store, logger } = this.#options;
    logger.debug("objects of a process end", { process: name });
    store.holderGone(name);
    store.ownerGone(name);
  }
}
