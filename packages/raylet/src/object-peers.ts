import type { Logger } from "@whipray/core";
import type { NodeStore } from "@whipray/objects";
import { type Peer, ProcessWatch, type ProcessWatchOptions, processName } from "@whipray/rpc";

export interface ObjectPeersOptions extends ProcessWatchOptions {
  readonly store: Pick<NodeStore, "holderGone" | "ownerGone">;
  readonly logger: Logger;
}

/** The processes behind the objects: what one holds and owns ends with its session. */
export class ObjectPeers {
  readonly #options: ObjectPeersOptions;
  readonly #known = new Set<Peer>();
  /** Owners that may never have come to us. */
  readonly #watch: ProcessWatch;

  constructor(options: ObjectPeersOptions) {
    this.#options = options;
    this.#watch = new ProcessWatch(options);
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
    if (this.#watch.follows(owner) || [...this.#known].some((peer) => processName(peer) === owner)) return;
    this.#watch.follow(owner, () => this.#gone(owner));
  }

  /** A process of this node ended. */
  ended(address: string): void {
    for (const peer of this.#known) if (peer.address === address) this.#gone(processName(peer));
    this.#watch.ended(`${address} `);
  }

  #gone(name: string): void {
    const { store, logger } = this.#options;
    logger.debug("objects of a process end", { process: name });
    store.holderGone(name);
    store.ownerGone(name);
  }
}
