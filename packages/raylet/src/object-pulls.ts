import { asWhiprayError, type Clock, type Logger, NodeDiedError } from "@whipray/core";
import { type NodeStore, objectLost, STORE_CHUNK_BYTES } from "@whipray/objects";
import {
  type ByteFetcher,
  type Endpoint,
  encodeControl,
  objectFree,
  objectHold,
  objectRead,
  objectRelease,
  type Peer,
} from "@whipray/rpc";
import { objectPath } from "./object-path.ts";

/** Chunks that all copies to this node have under way together: 64 MiB (Ray: 2 GiB). */
export const PULL_CHUNKS_AT_ONCE = 16;
/** How often the head is asked whether the node still lives. */
const WATCH_MS = 2_000;
/** Chunks of one object under way. */
const CHUNKS_OF_ONE = 4;
/** Copies of this size or more come over connections of their own, where the other raylet has a port. */
export const STREAMED_BYTES = 1_048_576;
/** Such connections at once; others wait. Each takes all that the network gives. */
export const STREAMS_AT_ONCE = 4;

export interface ObjectPullsOptions {
  readonly endpoint: Pick<Endpoint, "connect">;
  readonly store: NodeStore;
  readonly headUrl: string;
  /** URL of a raylet's own port; undefined where only the head reaches it. */
  readonly portOf: (address: string) => Promise<string | undefined>;
  readonly bytes?: ByteFetcher | undefined;
  /** Whether the head has declared the node of this raylet dead: it knows long before a silent session gives up. */
  readonly isDead: (raylet: string) => Promise<boolean>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Copies objects of other nodes here, each once however many ask. */
export class ObjectPulls {
  readonly #options: ObjectPullsOptions;
  readonly #running = new Map<string, Promise<void>>();
  readonly #chunks = new Places(PULL_CHUNKS_AT_ONCE);
  readonly #streams = new Places(STREAMS_AT_ONCE);
  readonly #ends = new WeakMap<Peer, AbortController>();
  #pulls = 0;

  constructor(options: ObjectPullsOptions) {
    this.#options = options;
  }

  /** @throws ObjectLostError; ObjectStoreFullError, OutOfDiskError of this node. */
  pull(object: string, from: string, owner: string): Promise<void> {
    let running = this.#running.get(object);
    if (!running) {
      running = this.#copy(object, from, owner).finally(() => this.#running.delete(object));
      this.#running.set(object, running);
    }
    return running;
  }

  async #copy(object: string, from: string, owner: string): Promise<void> {
    const { endpoint, store, headUrl, portOf } = this.#options;
    const port = await portOf(from);
    const source = endpoint.connect({ to: from, url: port ?? headUrl, purpose: "data" });
    this.#watch(object, source);
    const { bytes } = await source.invoke(objectHold, { id: object }).catch((error: unknown) => {
      throw source.closed ? objectLost(object, `${from}, which has it, is gone`, error) : asWhiprayError(error);
    });
    const creator = `pull ${++this.#pulls} of ${object}`;
    try {
      await store.create({ object, owner, creator, bytes, copy: true });
      const streamed = port === undefined ? 0 : await this.#streamed(source, port, object, bytes);
      await this.#chunksOf(source, object, streamed, bytes);
      store.seal(object, creator);
    } catch (error) {
      store.holderGone(creator);
      throw source.closed ? objectLost(object, `${from} went away while it was copied`, error) : error;
    } finally {
      // A call, not a oneway: one that is lost with a route would keep the object there for as long as the session goes on.
      source.invoke(objectRelease, { ids: [object] }).catch(() => {}); // the end of the session lets go too
    }
  }

  /** As long as the copy runs. */
  #watch(object: string, source: Peer): void {
    this.#options.clock.after(WATCH_MS, () => {
      if (!this.#running.has(object) || source.closed) return;
      void this.#options.isDead(source.address).then((dead) => {
        const message = `${source.address} is on a node that was declared dead`;
        if (dead) source.close(new NodeDiedError({ message }));
        else this.#watch(object, source);
      });
    });
  }

  /**
   * Copies over a connection of its own, and goes on where one broke as long as each brings something. Gives the number of bytes that have
   * come: whatever stands in the way of the rest, chunks by the session may still pass.
   */
  async #streamed(source: Peer, port: string, object: string, bytes: number): Promise<number> {
    const { bytes: fetcher, store } = this.#options;
    if (!fetcher || bytes < STREAMED_BYTES) return 0;
    const signal = this.#endOf(source);
    let at = 0;
    await this.#streams.during(async () => {
      const { memory, back } = store.lend(object);
      for (let before = -1; at < bytes && at > before && !source.closed; ) {
        before = at;
        const take = (piece: Uint8Array): void => {
          memory.set(piece, at);
          at += piece.byteLength;
        };
        await fetcher.fetch(port, objectPath(object, at), take, signal).catch((error: unknown) => {
          this.#options.logger.debug("a byte stream broke", { object, at, bytes, error: String(error) });
        });
      }
      back();
    });
    return at;
  }

  /** Aborted with the session. */
  #endOf(source: Peer): AbortSignal {
    let end = this.#ends.get(source);
    if (!end) {
      const made = new AbortController();
      source.onClose((error) => made.abort(error));
      end = made;
      this.#ends.set(source, end);
    }
    return end.signal;
  }

  async #chunksOf(source: Peer, object: string, from: number, bytes: number): Promise<void> {
    let next = from;
    let failed = false;
    const lane = async (): Promise<void> => {
      try {
        while (next < bytes && !failed) {
          const offset = next;
          const length = Math.min(STORE_CHUNK_BYTES, bytes - offset);
          next += length;
          await this.#chunk(source, object, offset, length);
        }
      } catch (error) {
        failed = true;
        throw error;
      }
    };
    // All lanes end before the segment may be given up: none of them may write into what is somebody else's then.
    const lanes = await Promise.allSettled(Array.from({ length: CHUNKS_OF_ONE }, lane));
    for (const lane of lanes) if (lane.status === "rejected") throw lane.reason;
  }

  #chunk(source: Peer, object: string, offset: number, length: number): Promise<void> {
    return this.#chunks.during(async () => {
      const request = encodeControl({ id: object, offset, length });
      const [, chunk] = await source.call(objectRead.name, [request]);
      if (chunk?.byteLength !== length)
        throw objectLost(object, `${source.address} sent ${chunk?.byteLength} of ${length} bytes`);
      await this.#options.store.write(object, offset, chunk);
    });
  }
}

/** So many at once; the others wait in their order. */
class Places {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  async during(work: () => Promise<void>): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}

/** Tells another raylet that the owner needs its copies no more. */
export function freeAt(endpoint: Endpoint, raylet: string, url: string, ids: string[]): void {
  void endpoint
    .connect({ to: raylet, url, purpose: "data" })
    .invoke(objectFree, { ids })
    .catch(() => {}); // its own end frees them too
}
