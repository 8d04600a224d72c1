import { asWhiprayError, type Clock, type IdSource, type Logger, WhiprayError } from "@whipray/core";
import {
  layoutBytes,
  ObjectViews,
  objectLost,
  readLayout,
  type SegmentMapper,
  type SegmentPlace,
  SegmentWriter,
  STORE_CHUNK_BYTES,
  sizeClass,
  writeLayout,
} from "@whipray/objects";
import {
  type Endpoint,
  encodeControl,
  objectCreate,
  objectFree,
  objectHold,
  objectLetGo,
  objectRead,
  objectRelease,
  objectSeal,
  objectWrite,
  type Parts,
  type Peer,
  type SegmentWire,
  StoredWire,
} from "@whipray/rpc";
import { ObjectSpares } from "./object-spares.ts";
import { type Garbage, ViewCollector } from "./view-collector.ts";

/** Ranges that are read or written at once by a process that cannot map. */
const RANGES_AT_ONCE = 4;

/** The raylet that keeps a process' objects. */
export interface ObjectHome {
  readonly address: string;
  readonly url: string;
  /** On this machine: its segments can be mapped. */
  readonly local: boolean;
}

export interface ObjectClientOptions {
  readonly endpoint: Endpoint;
  readonly ids: IdSource;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly mapper: SegmentMapper;
  readonly home: ObjectHome;
  /** URL that leads to another raylet. */
  readonly urlOf: (raylet: string) => Promise<string>;
  /** Collected when a raylet asks for what nobody reaches; without it views go in their own time. */
  readonly garbage?: Garbage | undefined;
  /** Only when somebody waits for room. Default false. */
  readonly collectsOnlyForRoom?: boolean | undefined;
}

export interface PutOptions {
  /** `address incarnation` of the process whose end frees it; default: this one. */
  readonly owner?: string;
  /** False: there is another way, so it does not wait until others let go. Default true. */
  readonly patient?: boolean;
}

/** An object that is about to be written. */
export interface Room {
  readonly segment: SegmentWire;
  readonly stored: StoredWire;
  seal(): void;
  giveUp(): void;
}

/** This process at the object stores: writes and reads in place on its own machine, by messages elsewhere. */
export class ObjectClient {
  readonly #options: ObjectClientOptions;
  readonly #views: ObjectViews;
  readonly #writer: SegmentWriter;
  readonly #spares: ObjectSpares;
  readonly #opening = new Map<string, Promise<Parts>>();
  readonly #released: string[] = [];
  readonly #freed = new Map<string, string[]>();

  constructor(options: ObjectClientOptions) {
    this.#options = options;
    this.#writer = new SegmentWriter(options.mapper);
    this.#spares = new ObjectSpares({ ...options, raylet: () => this.#home() });
    this.#views = new ObjectViews(options.mapper, (object) => {
      if (this.#released.push(object) === 1) queueMicrotask(() => this.#sendReleased());
    });
    const { endpoint, clock, garbage, collectsOnlyForRoom: onlyForRoom } = options;
    const collector = garbage && new ViewCollector({ clock, garbage, views: this.#views, onlyForRoom });
    endpoint.serve(objectLetGo, ({ ids }) => {
      collector?.ask(ids);
      return null;
    });
  }

  get home(): ObjectHome {
    return this.#options.home;
  }

  /**
   * Stores the parts of a message at home. They must not change before this settles.
   * @throws ObjectStoreFullError, OutOfDiskError.
   */
  async put(parts: Parts, { owner, patient }: PutOptions = {}): Promise<StoredWire> {
    const now = this.putNow(parts, owner);
    if (now) return now;
    const { ids, home } = this.#options;
    const id = ids.next("obj");
    const bytes = layoutBytes(parts);
    const raylet = this.#home();
    // What was freed just now is room, and its pages are warm.
    this.#sendFreed(home.address, raylet);
    const { segment } = await raylet.invoke(objectCreate, { id, bytes, owner, patient });
    if (!this.#wrote(segment, parts)) await this.#writeRanges(raylet, id, parts, bytes);
    this.#seal(id);
    if (home.local) this.#spares.prepare(segment.bytes);
    return this.#stored(id, bytes, owner);
  }

  /** As `put`, and done when it returns; undefined when there is no room at hand. */
  putNow(parts: Parts, owner?: string): StoredWire | undefined {
    const bytes = layoutBytes(parts);
    const segmentBytes = sizeClass(bytes);
    const spare = this.#spares.take(segmentBytes);
    if (!spare || !this.#wrote(spare.segment, parts)) return undefined;
    this.#seal(spare.id, bytes, owner);
    this.#spares.prepare(segmentBytes);
    return this.#stored(spare.id, bytes, owner);
  }

  /** Not awaited: whoever asks for the object waits for it, and the end of this process ends his wait. */
  #seal(id: string, bytes?: number, owner?: string): void {
    this.#home()
      .invoke(objectSeal, { id, bytes, owner })
      .catch((error: unknown) => this.#failed("an object could not be sealed", error));
  }

  #stored(id: string, bytes: number, owner: string | undefined): StoredWire {
    const { endpoint, home } = this.#options;
    const [address = "", incarnation = ""] = owner?.split(" ") ?? [endpoint.address, endpoint.incarnation];
    return new StoredWire(id, address, incarnation, bytes, home.address);
  }

  /**
   * The parts of a stored object: views of shared memory on this machine, else a copy.
   * @throws ObjectLostError; ObjectStoreFullError when it cannot be brought here.
   */
  open(stored: StoredWire): Promise<Parts> | Parts {
    const known = this.#views.find(stored.id) ?? this.#opening.get(stored.id);
    if (known) return known;
    const opening = this.#open(stored).finally(() => this.#opening.delete(stored.id));
    this.#opening.set(stored.id, opening);
    return opening;
  }

  /** Brings an object to this node, and holds nothing. */
  async fetch(stored: StoredWire): Promise<void> {
    if (!this.home.local || stored.location === this.home.address) return;
    await this.#hold(this.#home(), stored);
    this.#send(this.#home(), objectRelease, [stored.id]);
  }

  /** Room for an object of `owner` that an engine of this process writes. `seal` it, or `giveUp` when nobody writes it any more. */
  async room(bytes: number, owner: string): Promise<Room> {
    const id = this.#options.ids.next("obj");
    const raylet = this.#home();
    const { segment } = await raylet.invoke(objectCreate, { id, bytes, owner, patient: false });
    const seal = (): void => this.#seal(id);
    const giveUp = (): void => {
      this.#send(raylet, objectFree, [id]);
      seal();
    };
    return { segment, stored: this.#stored(id, bytes, owner), seal, giveUp };
  }

  /** Keeps an object in memory for an engine of this process, which maps it itself; until `unhold`. */
  hold(stored: StoredWire): Promise<{ segment: SegmentWire; bytes: number }> {
    return this.#hold(this.#home(), stored);
  }

  unhold(id: string): void {
    this.#send(this.#home(), objectRelease, [id]);
  }

  /** Detaches what this process got of an object. */
  release(object: string): boolean {
    return this.#views.release(object);
  }

  /** The object whose memory this is. */
  objectOf(memory: ArrayBufferLike): string | undefined {
    return this.#views.objectOf(memory);
  }

  /** Its owner does not need it any more. */
  free({ id, location }: StoredWire): void {
    const waiting = this.#freed.get(location);
    if (waiting) waiting.push(id);
    else {
      this.#freed.set(location, [id]);
      queueMicrotask(() => void this.#tellFreed(location));
    }
  }

  async #open(stored: StoredWire): Promise<Parts> {
    const { home } = this.#options;
    const raylet = home.local ? this.#home() : await this.#raylet(stored.location);
    const { segment, bytes } = await this.#hold(raylet, stored);
    if (home.local) {
      try {
        return this.#views.open(stored.id, segment, bytes);
      } catch (error) {
        this.#failed("an object could not be mapped; its bytes are copied", error);
      }
    }
    try {
      return readLayout(await this.#readRanges(raylet, stored.id, bytes));
    } finally {
      this.#send(raylet, objectRelease, [stored.id]);
    }
  }

  async #hold(raylet: Peer, { id, location, ownerAddress, ownerIncarnation }: StoredWire) {
    try {
      return await raylet.invoke(objectHold, { id, from: location, owner: `${ownerAddress} ${ownerIncarnation}` });
    } catch (error) {
      throw raylet.closed ? objectLost(id, `${raylet.address}, which has it, is gone`, error) : asWhiprayError(error);
    }
  }

  /** Whether the parts were written in place. */
  #wrote(segment: SegmentPlace, parts: Parts): boolean {
    if (!this.home.local) return false;
    try {
      this.#writer.write(segment, parts);
      return true;
    } catch (error) {
      this.#failed("a segment could not be mapped; the object's bytes are sent", error);
      return false;
    }
  }

  async #writeRanges(raylet: Peer, id: string, parts: Parts, bytes: number): Promise<void> {
    const memory = new Uint8Array(bytes);
    writeLayout(memory, parts);
    await inRanges(bytes, async (offset, length) => {
      await raylet.call(objectWrite.name, [encodeControl({ id, offset }), memory.subarray(offset, offset + length)]);
    });
  }

  async #readRanges(raylet: Peer, id: string, bytes: number): Promise<Uint8Array> {
    const memory = new Uint8Array(bytes);
    await inRanges(bytes, async (offset, length) => {
      const [, range] = await raylet.call(objectRead.name, [encodeControl({ id, offset, length })]);
      if (range?.byteLength !== length) {
        throw new WhiprayError({ code: "OBJECT_CORRUPT", message: `${raylet.address} sent less of ${id} than it has` });
      }
      memory.set(range, offset);
    });
    return memory;
  }

  #home(): Peer {
    const { endpoint, home } = this.#options;
    return endpoint.connect({ to: home.address, url: home.url, purpose: "data" });
  }

  async #raylet(address: string): Promise<Peer> {
    const { endpoint, home, urlOf } = this.#options;
    if (address === home.address) return this.#home();
    return endpoint.connect({ to: address, url: await urlOf(address), purpose: "data" });
  }

  #sendReleased(): void {
    const ids = this.#released.splice(0);
    this.#send(this.#home(), objectRelease, ids);
  }

  async #tellFreed(location: string): Promise<void> {
    try {
      this.#sendFreed(location, await this.#raylet(location));
    } catch (error) {
      this.#freed.delete(location);
      this.#failed("another raylet was not told", error);
    }
  }

  #sendFreed(location: string, raylet: Peer): void {
    const ids = this.#freed.get(location);
    this.#freed.delete(location);
    if (ids) this.#send(raylet, objectFree, ids);
  }

  /** The end of this process, or of the raylet, does the same. */
  #send(raylet: Peer, method: typeof objectRelease, ids: string[]): void {
    raylet.invoke(method, { ids }).catch((error: unknown) => this.#failed("a raylet was not told", error));
  }

  #failed(what: string, error: unknown): void {
    const { code, message } = asWhiprayError(error);
    this.#options.logger.debug(what, { code, error: message });
  }
}

/** A few ranges of at most 4 MiB at a time, until all are done. */
async function inRanges(bytes: number, work: (offset: number, length: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < bytes) {
      const offset = next;
      next += STORE_CHUNK_BYTES;
      await work(offset, Math.min(STORE_CHUNK_BYTES, bytes - offset));
    }
  };
  await Promise.all(Array.from({ length: RANGES_AT_ONCE }, lane));
}
