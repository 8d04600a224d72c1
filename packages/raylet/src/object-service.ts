import { type Clock, type Logger, WhiprayError } from "@whipray/core";
import type { NodeStore } from "@whipray/objects";
import {
  type ByteFetcher,
  type ByteStream,
  type Endpoint,
  type IncomingCall,
  type Method,
  type NodeRow,
  nodesList,
  OBJECTS_A_MESSAGE_LIMIT,
  type ObjectList,
  type objectCreate,
  type objectFree,
  type objectHold,
  objectLetGo,
  type objectList,
  type objectRead,
  type objectRelease,
  type objectSeal,
  type objectWrite,
} from "@whipray/rpc";
import type { HeadLink } from "./head-link.ts";
import { readObjectPath } from "./object-path.ts";
import { ObjectPeers } from "./object-peers.ts";
import { freeAt, ObjectPulls } from "./object-pulls.ts";

export interface ObjectServiceOptions {
  readonly endpoint: Endpoint;
  readonly store: NodeStore;
  readonly head: HeadLink;
  readonly headUrl: string;
  readonly nodeId: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Fetches bytes from other raylets' ports; without it all travels in messages. */
  readonly bytes?: ByteFetcher | undefined;
  /** Socket of a worker of this node. */
  readonly socketOf: (address: string) => string | undefined;
}

type Request<M> = M extends Method<infer R, unknown> ? R : never;

/** The node's object store on the wire (PROTOCOL.md, "Objects"). `ObjectDoor` takes the calls. */
export class ObjectService {
  readonly #options: ObjectServiceOptions;
  readonly #peers: ObjectPeers;
  readonly #pulls: ObjectPulls;
  /** Raylets that have copies of what lies here. */
  readonly #copies = new Map<string, Set<string>>();
  /** Who is asked to let go of what, at the end of this turn. */
  readonly #letGo = new Map<string, Set<string>>();
  #streams = 0;

  constructor(options: ObjectServiceOptions) {
    this.#options = options;
    this.#peers = new ObjectPeers({
      ...options,
      urlOf: (address) => this.#urlOf(address),
      headIsAway: () => !options.head.registered,
    });
    this.#pulls = new ObjectPulls({
      ...options,
      headUrl: options.headUrl,
      portOf: async (address) => (await this.#nodeOf(address))?.url,
      isDead: async (address) => (await this.#nodeOf(address))?.state === "DEAD",
    });
    options.store.onLetGo((holder, objects) => this.#askLater(holder, objects));
  }

  async create({ id, bytes, owner, spare = false, patient = true }: Request<typeof objectCreate>, call: IncomingCall) {
    const creator = this.#peers.asker(call.peer);
    if (owner !== undefined && owner !== creator) this.#peers.watch(owner);
    const request = { object: id, owner: owner ?? creator, creator, bytes, spare, patient };
    return { segment: await this.#options.store.create(request, call.signal) };
  }

  seal({ id, bytes, owner }: Request<typeof objectSeal>, call: IncomingCall): null {
    const creator = this.#peers.asker(call.peer);
    if (owner !== undefined && owner !== creator) this.#peers.watch(owner);
    this.#options.store.seal(id, creator, { bytes, owner });
    return null;
  }

  async hold({ id, from, owner }: Request<typeof objectHold>, call: IncomingCall) {
    const { store, endpoint } = this.#options;
    const holder = this.#peers.asker(call.peer);
    if (call.peer.role === "raylet") this.#copied(id, call.peer.address);
    if (from !== undefined && from !== endpoint.address && !store.get(id)) {
      if (owner !== undefined) this.#peers.watch(owner);
      await this.#pulls.pull(id, from, owner ?? holder);
    }
    const { place, bytes } = await store.attach(id, holder, call.signal);
    return { segment: place, bytes };
  }

  release({ ids }: Request<typeof objectRelease>, call: IncomingCall): null {
    const holder = this.#peers.asker(call.peer);
    for (const id of ids) this.#options.store.detach(id, holder);
    return null;
  }

  free({ ids }: Request<typeof objectFree>): null {
    for (const id of ids) this.#free(id);
    return null;
  }

  /** A range is read of what is held: nothing else is sure to be in memory. */
  async read({ id, offset, length }: Request<typeof objectRead>, call: IncomingCall): Promise<Uint8Array> {
    const { store } = this.#options;
    const holder = this.#peers.asker(call.peer);
    const object = store.get(id);
    if (!object?.pins.has(holder)) throw invalid(`${id} is not held by ${holder}; ask object.hold first`);
    if (offset + length > object.bytes) throw invalid(`${id} has ${object.bytes} bytes, not ${offset + length}`);
    return store.read(id, offset, length);
  }

  /** The bytes of a held object from an offset on; `path` is that of `objectPath`. */
  async stream(path: string): Promise<ByteStream> {
    const { store } = this.#options;
    const { id, from } = readObjectPath(path);
    if (!store.get(id)?.pins.size) throw invalid(`${id} is not held by anybody; ask object.hold first`);
    // Who asked may let go meanwhile: the memory must stay this object's until the last byte has left.
    const holder = `stream ${++this.#streams} of ${id}`;
    const { bytes } = await store.attach(id, holder);
    const ends = [(): void => store.detach(id, holder)];
    const done = (): void => {
      for (const end of ends) end();
    };
    try {
      if (from > bytes) throw invalid(`${id} has ${bytes} bytes, not ${from}`);
      const { memory, back } = store.lend(id);
      ends.unshift(back);
      return { memory: memory.subarray(from, bytes), done };
    } catch (error) {
      done();
      throw error;
    }
  }

  async write({ id, offset }: Request<typeof objectWrite>, call: IncomingCall): Promise<void> {
    const { store } = this.#options;
    const bytes = call.parts[1];
    const object = store.get(id);
    const fits = bytes && object && offset + bytes.byteLength <= object.bytes;
    if (!fits || object.state !== "writing" || object.creator !== this.#peers.asker(call.peer)) {
      throw invalid(`${id} cannot be written there by ${call.peer.address}`);
    }
    await store.write(id, offset, bytes);
  }

  list({ limit }: Request<typeof objectList>): ObjectList {
    const { store } = this.#options;
    const objects = [...store.rows()].slice(0, limit).map(({ id, owner, bytes, state, copy, pins, freed }) => ({
      ...{ id, owner, bytes, state, copy, holders: [...pins.keys()], freed },
    }));
    const { usedBytes, pooledBytes, spilledBytes, pinnedBytes } = store.stats;
    return { objects, capacityBytes: store.capacityBytes, usedBytes, pooledBytes, spilledBytes, pinnedBytes };
  }

  /** A process of this node ended. */
  ended(address: string): void {
    this.#peers.ended(address);
  }

  close(): Promise<void> {
    return this.#options.store.close();
  }

  #askLater(holder: string, objects: readonly string[]): void {
    if (this.#letGo.size === 0) queueMicrotask(() => this.#ask());
    const asked = this.#letGo.get(holder) ?? new Set();
    this.#letGo.set(holder, asked);
    for (const object of objects) if (asked.size < OBJECTS_A_MESSAGE_LIMIT) asked.add(object);
  }

  /** A raylet that copies an object releases it anyway. */
  #ask(): void {
    for (const [holder, ids] of this.#letGo) {
      const peer = this.#peers.find(holder);
      // One that is gone, or knows no such message, lets go in its own time.
      if (peer && peer.role !== "raylet") peer.invoke(objectLetGo, { ids: [...ids] }).catch(() => {});
    }
    this.#letGo.clear();
  }

  #copied(id: string, raylet: string): void {
    const known = this.#copies.get(id);
    if (known) known.add(raylet);
    else if (this.#options.store.get(id)) this.#copies.set(id, new Set([raylet]));
  }

  #free(id: string): void {
    const { store, endpoint } = this.#options;
    store.free(id);
    for (const raylet of this.#copies.get(id) ?? []) {
      void this.#rayletUrl(raylet).then((url) => freeAt(endpoint, raylet, url, [id]));
    }
    this.#copies.delete(id);
  }

  #urlOf(address: string): string {
    const socket = this.#options.socketOf(address);
    return socket === undefined ? this.#options.headUrl : `unix:${socket}`;
  }

  /** Another raylet's own port, else by the head. */
  async #rayletUrl(address: string): Promise<string> {
    return (await this.#nodeOf(address))?.url ?? this.#options.headUrl;
  }

  /** What the head says of a raylet's node; nothing while the head is away. */
  async #nodeOf(raylet: string): Promise<NodeRow | undefined> {
    const listed = await this.#options.head.peer?.invoke(nodesList, {}).catch(() => undefined);
    return listed?.nodes.find(({ nodeId }) => `${nodeId}/raylet` === raylet);
  }
}

function invalid(message: string): WhiprayError {
  return new WhiprayError({ code: "INVALID_STATE", message });
}
