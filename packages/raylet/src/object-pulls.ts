import { asWhiprayError, type Clock, NodeDiedError } from "@whipray/core";
import { type NodeStore, objectLost, STORE_CHUNK_BYTES } from "@whipray/objects";
import {
  type Endpoint,
  encodeControl,
  objectFree,
  objectHold,
  objectRead,
  objectRelease,
  type Peer,
} from "@whipray/rpc";

/** Chunks that all copies to this node have under way together: 64 MiB (Ray: 2 GiB). */
export const PULL_CHUNKS_AT_ONCE = 16;
/** How often the head is asked whether the node still lives. */
const WATCH_MS = 2_000;
/** Chunks of one object under way. */
const CHUNKS_OF_ONE = 4;

export interface ObjectPullsOptions {
  readonly endpoint: Pick<Endpoint, "connect">;
  readonly store: NodeStore;
  readonly urlOf: (address: string) => Promise<string>;
  /** Whether the head has declared the node of this raylet dead: it knows long before a silent session gives up. */
  readonly isDead: (raylet: string) => Promise<boolean>;
  readonly clock: Clock;
}

/** Copies objects of other nodes here, each once however many ask. */
export class ObjectPulls {
  readonly #options: ObjectPullsOptions;
  readonly #running = new Map<string, Promise<void>>();
  readonly #waiting: (() => void)[] = [];
  #chunks = 0;
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
    const { endpoint, store, urlOf } = this.#options;
    const source = endpoint.connect({ to: from, url: await urlOf(from), purpose: "data" });
    this.#watch(object, source);
    const { bytes } = await source.invoke(objectHold, { id: object }).catch((error: unknown) => {
      throw source.closed ? objectLost(object, `${from}, which has it, is gone`, error) : asWhiprayError(error);
    });
    const creator = `pull ${++this.#pulls} of ${object}`;
    try {
      await store.create({ object, owner, creator, bytes, copy: true });
      await this.#chunksOf(source, object, bytes);
      store.seal(object, creator);
    } catch (error) {
      store.holderGone(creator);
      throw source.closed ? objectLost(object, `${from} went away while it was copied`, error) : error;
    } finally {
      if (!source.closed) source.tell(objectRelease, { ids: [object] });
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

  async #chunksOf(source: Peer, object: string, bytes: number): Promise<void> {
    let next = 0;
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

  async #chunk(source: Peer, object: string, offset: number, length: number): Promise<void> {
    if (this.#chunks >= PULL_CHUNKS_AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#chunks++;
    try {
      const request = encodeControl({ id: object, offset, length });
      const [, chunk] = await source.call(objectRead.name, [request]);
      if (chunk?.byteLength !== length)
        throw objectLost(object, `${source.address} sent ${chunk?.byteLength} of ${length} bytes`);
      await this.#options.store.write(object, offset, chunk);
    } finally {
      const waiting = this.#waiting.shift();
      if (waiting) waiting();
      else this.#chunks--;
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
