import { asWhiprayError, type IdSource, ObjectFreedError, OwnerDiedError, WhiprayError } from "@whipray/core";
import {
  anything,
  type Endpoint,
  encodeControl,
  encodeStored,
  encodeValues,
  type IncomingCall,
  id,
  method,
  type ObjectRefWire,
  type Parts,
  type StoredWire,
  shape,
  storedOf,
} from "@whipray/rpc";
import { isLarge, NO_ROOM, type ObjectAccess, type ObjectClient } from "@whipray/worker";
import type { Cancelling } from "./cancelling.ts";
import { ObjectRef, type RefSource } from "./object-ref.ts";
import { type RemoteObjects, type RemoteRef, RemoteSource } from "./remote-source.ts";

/** Any process → owner of an object: its value (parts as the owner has them, `Stored` when they lie in a node's store). */
export const objectGet = method("$object.get", shape({ id: id("obj") }), anything);

/** Objects that one process may own at once. */
export const OWNED_OBJECTS_LIMIT = 1_000_000;

export interface ObjectStoreOptions {
  endpoint: Endpoint;
  ids: IdSource;
  /** URL that leads to any other process: the raylet of this machine, or the head. */
  viaUrl: string;
  /** The store of this process' node, for large values. */
  access: ObjectAccess;
  /** A value that somebody gets: perhaps a promise of it. */
  decode(parts: Parts): unknown;
  /** A value that goes into a call. */
  decodeArgument(parts: Parts): unknown;
  /** Encodes what goes into an object: handles in it hold their actors until `forget`. */
  keeping<T>(object: string, encode: () => T): T;
  /** Handles in a result that became an object. */
  keepHandles(object: string, parts: Parts): void;
  /** The object is gone. */
  forget(object: string): void;
}

interface Owned {
  parts: Promise<Parts>;
  settled: boolean;
  stored: StoredWire | undefined;
  /** A copy lies on this machine. */
  fetched: boolean;
  /** Another process may ask for it. */
  passedOn: boolean;
  cancelling: Cancelling | undefined;
}

/** The objects that this process owns, and the way to those of others. Small ones live in their owner, large ones in a node's store. */
export class ObjectStore {
  readonly #options: ObjectStoreOptions;
  readonly #owned = new Map<string, Owned>();
  /** Nobody can ask for the value of a ref that was never passed on and is gone: it is freed before the session ends. */
  readonly #collected = new FinalizationRegistry<string>((refId) => {
    if (this.#owned.get(refId)?.passedOn === false) this.#release(refId);
  });
  /** Once it was needed. */
  #client: ObjectClient | undefined;

  readonly #remotes: RemoteObjects = {
    fetch: (wire) => this.#fetch(wire),
    storedOf,
    valueOf: async (parts) => this.#options.decode(storedOf(parts) ? await this.resolve(parts) : parts),
    fetchLocal: (parts) => this.#fetchLocal(parts),
    detach: (stored) => this.#detach(stored),
    freed: (wire) => freed(wire.id),
  };

  readonly #openLocal = ({ id }: ObjectRef): RefSource => this.#local(id);
  readonly #openRemote = (ref: ObjectRef): RefSource => new RemoteSource(this.#remotes, ref);

  constructor(options: ObjectStoreOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#owned.size;
  }

  /** A ref to what `parts` will be; `cancelling` cancels it. @throws WhiprayError `OBJECT_STORE_FULL`. */
  own<T>(parts: Promise<Parts>, cancelling?: Cancelling, refId = this.#options.ids.next("obj")): ObjectRef<T> {
    if (this.#owned.size >= OWNED_OBJECTS_LIMIT) {
      throw new WhiprayError({
        code: "OBJECT_STORE_FULL",
        message: `This process owns ${this.#owned.size} objects, the limit; dispose() refs that are not needed any more`,
        retryable: true,
      });
    }
    const { endpoint } = this.#options;
    const owned: Owned = { parts, settled: false, stored: undefined, fetched: false, passedOn: false, cancelling };
    this.#owned.set(refId, owned);
    parts.then(
      (ready) => {
        owned.stored = storedOf(ready);
        owned.settled = true;
        if (!owned.stored) this.#options.keepHandles(refId, ready);
        // Disposed before its call was done.
        if (!this.#owned.has(refId)) this.#end(refId, owned.stored);
      },
      () => {
        owned.settled = true;
      },
    );
    const ref = new ObjectRef<T>(refId, endpoint.address, endpoint.incarnation, this.#openLocal);
    this.#collected.register(ref, refId);
    return ref;
  }

  /**
   * Puts a value. Large arrays are copied once, into shared memory: they must not change before this settles.
   * @throws WhiprayError `INVALID_ARGUMENT` for a ref (Ray), `NOT_SERIALISABLE`; ObjectStoreFullError, OutOfDiskError.
   */
  async put<T>(value: T): Promise<ObjectRef<T>> {
    if (value instanceof ObjectRef)
      throw new WhiprayError({ code: "INVALID_ARGUMENT", message: "put takes a value, not an ObjectRef" });
    const refId = this.#options.ids.next("obj");
    const parts = this.#options.keeping(refId, () => encodeValues(value));
    try {
      if (!isLarge(parts)) return this.own<T>(Promise.resolve(copied(parts)), undefined, refId);
      const client = await this.#access();
      return this.own<T>(Promise.resolve(encodeStored(await client.put(parts))), undefined, refId);
    } catch (error) {
      this.#options.forget(refId);
      throw error;
    }
  }

  /** A ref that came over the wire. */
  adopt({ id, ownerAddress, ownerIncarnation }: ObjectRefWire): ObjectRef {
    const { endpoint } = this.#options;
    const mine = ownerAddress === endpoint.address && ownerIncarnation === endpoint.incarnation;
    return new ObjectRef(id, ownerAddress, ownerIncarnation, mine ? this.#openLocal : this.#openRemote);
  }

  /** Answers another process that asks for one of ours. */
  serve(request: { id: string }, call: IncomingCall): void {
    const owned = this.#owned.get(request.id);
    if (owned)
      owned.parts.then(
        (parts) => call.reply(parts),
        (error) => call.fail(error),
      );
    else call.fail(freed(request.id));
  }

  /** The parts of a message, wherever they lie. */
  async resolve(parts: Parts): Promise<Parts> {
    const stored = storedOf(parts);
    return stored ? (await this.#access()).open(stored) : parts;
  }

  /** The parts of a result that nobody has a ref to: where it lies it is freed, and goes when the last array of it does. */
  take(parts: Parts): Promise<Parts> | Parts {
    const stored = storedOf(parts);
    return stored ? this.#taken(stored) : parts;
  }

  async #taken(stored: StoredWire): Promise<Parts> {
    const client = await this.#access();
    try {
      return await client.open(stored);
    } finally {
      client.free(stored);
    }
  }

  /** An argument that is a ref, as its callee takes it: what lies in a store stays there, small values go along. */
  async argument(ref: ObjectRef): Promise<unknown> {
    const parts = await ref.source.parts();
    return storedOf(parts) ?? this.#options.decodeArgument(parts);
  }

  /**
   * Large arguments in shared memory instead of in the message; `done` when the call is over. They must not change before the promise
   * settles. As they are when there is no store on this machine, or no room.
   */
  async lend(parts: Parts): Promise<{ parts: Parts; done: () => void }> {
    try {
      const client = await this.#access();
      if (client.home.local) {
        const stored = await client.put(parts, { patient: false });
        return { parts: encodeStored(stored), done: () => client.free(stored) };
      }
    } catch (error) {
      if (!NO_ROOM.has(asWhiprayError(error).code)) throw error;
    }
    return { parts, done: () => {} };
  }

  /** As `lend`, and done when it returns; undefined when there is no room at hand. */
  lendNow(parts: Parts): { parts: Parts; done: () => void } | undefined {
    const client = this.#client;
    const stored = client?.putNow(parts);
    return client && stored && { parts: encodeStored(stored), done: () => client.free(stored) };
  }

  /** Detaches the memory of a value that was got. False when it lies in no shared memory. */
  releaseMemory(memory: ArrayBufferLike): boolean {
    const object = this.#client?.objectOf(memory);
    return object !== undefined && this.#client?.release(object) === true;
  }

  async #access(): Promise<ObjectClient> {
    this.#client ??= await this.#options.access.client();
    return this.#client;
  }

  #free(stored: StoredWire | undefined): void {
    // At once where that can be: the put that follows may have the room.
    if (stored && this.#client) this.#client.free(stored);
    else if (stored)
      this.#access()
        .then((client) => client.free(stored))
        .catch(() => {}); // the end of this process does it too
  }

  #local(refId: string): RefSource {
    const find = (): Owned => {
      const owned = this.#owned.get(refId);
      if (!owned) throw freed(refId);
      return owned;
    };
    const store = this;
    return {
      cancelling: this.#owned.get(refId)?.cancelling,
      parts: async () => find().parts,
      value: async () => {
        const parts = await find().parts;
        return this.#options.decode(storedOf(parts) ? await this.resolve(parts) : parts);
      },
      settled: async (fetchLocal) => {
        const owned = store.#owned.get(refId);
        const parts = await owned?.parts.catch(() => undefined);
        if (fetchLocal && owned && parts) owned.fetched = await store.#fetchLocal(parts);
      },
      get isSettled() {
        return store.#owned.get(refId)?.settled ?? true;
      },
      isReady: (fetchLocal) => {
        const owned = this.#owned.get(refId);
        return !owned || (owned.settled && (!fetchLocal || owned.fetched || owned.stored === undefined));
      },
      get stored() {
        return store.#owned.get(refId)?.stored;
      },
      detach: () => this.#detach(this.#owned.get(refId)?.stored),
      passedOn: () => {
        const owned = this.#owned.get(refId);
        if (owned) owned.passedOn = true;
      },
      release: () => this.#release(refId),
    };
  }

  #detach(stored: StoredWire | undefined): boolean {
    return stored !== undefined && this.#client?.release(stored.id) === true;
  }

  /** Whether the value is on this machine now. Never rejects: the `get` that follows tells what is wrong. */
  async #fetchLocal(parts: Parts): Promise<boolean> {
    const stored = storedOf(parts);
    if (!stored) return true;
    return this.#access()
      .then((client) => client.fetch(stored))
      .then(
        () => true,
        () => false,
      );
  }

  #release(refId: string): void {
    const owned = this.#owned.get(refId);
    this.#owned.delete(refId);
    this.#end(refId, owned?.stored);
  }

  #end(refId: string, stored: StoredWire | undefined): void {
    this.#options.forget(refId);
    this.#free(stored);
  }

  async #fetch(wire: RemoteRef): Promise<Parts> {
    const { endpoint, viaUrl } = this.#options;
    const owner = endpoint.connect({ to: wire.ownerAddress, url: viaUrl, purpose: "data" });
    try {
      const reply = await owner.call(objectGet.name, [encodeControl({ id: wire.id })]);
      if (owner.incarnation !== wire.ownerIncarnation) throw ownerDied(wire);
      return reply;
    } catch (error) {
      throw owner.closed ? ownerDied(wire, error) : asWhiprayError(error);
    }
  }
}

/** Tensors are copied: the caller may change its arrays as soon as a small value was put. */
function copied(parts: Parts): Parts {
  return parts.map((part, index) => (index === 0 ? part : part.slice()));
}

function freed(refId: string): ObjectFreedError {
  return new ObjectFreedError({ message: `Object ${refId} was freed by its owner` });
}

function ownerDied(wire: RemoteRef, cause?: unknown): OwnerDiedError {
  return new OwnerDiedError({ message: `The owner of object ${wire.id}, ${wire.ownerAddress}, is gone`, cause });
}
