import { asWhiprayError, type IdSource, ObjectLostError, OwnerDiedError, WhiprayError } from "@whipray/core";
import {
  anything,
  type Endpoint,
  encodeControl,
  encodeValues,
  type IncomingCall,
  id,
  method,
  type ObjectRefWire,
  type Parts,
  shape,
} from "@whipray/rpc";
import { ObjectRef, type RefSource } from "./object-ref.ts";

/** Any process → owner of an object: its value (parts as the owner has them). */
export const objectGet = method("$object.get", shape({ id: id("obj") }), anything);

/** Objects that one process may own at once. */
export const OWNED_OBJECTS_LIMIT = 1_000_000;

export interface ObjectStoreOptions {
  endpoint: Endpoint;
  ids: IdSource;
  /** URL that leads to any other process: the raylet of this machine, or the head. */
  viaUrl: string;
  decode(parts: Parts): unknown;
}

interface Owned {
  parts: Promise<Parts>;
  settled: boolean;
}

/** The objects that this process owns, and the way to those of others. Values are inline: they live in their owner. */
export class ObjectStore {
  readonly #options: ObjectStoreOptions;
  readonly #owned = new Map<string, Owned>();

  constructor(options: ObjectStoreOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#owned.size;
  }

  /** A ref to what `parts` will be. @throws WhiprayError `OBJECT_STORE_FULL`. */
  own<T>(parts: Promise<Parts>): ObjectRef<T> {
    if (this.#owned.size >= OWNED_OBJECTS_LIMIT) {
      throw new WhiprayError({
        code: "OBJECT_STORE_FULL",
        message: `This process owns ${this.#owned.size} objects, the limit; dispose() refs that are not needed any more`,
        retryable: true,
      });
    }
    const { ids, endpoint } = this.#options;
    const refId = ids.next("obj");
    const owned: Owned = { parts, settled: false };
    this.#owned.set(refId, owned);
    const settle = (): void => {
      owned.settled = true;
    };
    parts.then(settle, settle);
    return new ObjectRef<T>(refId, endpoint.address, endpoint.incarnation, this.#local(refId));
  }

  /** Puts a value. @throws WhiprayError `INVALID_ARGUMENT` for a ref (Ray), `NOT_SERIALISABLE`. */
  put<T>(value: T): ObjectRef<T> {
    if (value instanceof ObjectRef)
      throw new WhiprayError({ code: "INVALID_ARGUMENT", message: "put takes a value, not an ObjectRef" });
    const parts = encodeValues(value).map((part, index) => (index === 0 ? part : part.slice()));
    return this.own<T>(Promise.resolve(parts));
  }

  /** A ref that came over the wire. */
  adopt(wire: ObjectRefWire): ObjectRef {
    const mine =
      wire.ownerAddress === this.#options.endpoint.address &&
      wire.ownerIncarnation === this.#options.endpoint.incarnation;
    return new ObjectRef(
      wire.id,
      wire.ownerAddress,
      wire.ownerIncarnation,
      mine ? this.#local(wire.id) : this.#remote(wire),
    );
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

  #local(refId: string): RefSource {
    const find = (): Owned => {
      const owned = this.#owned.get(refId);
      if (!owned) throw freed(refId);
      return owned;
    };
    const store = this;
    return {
      value: async () => this.#options.decode(await find().parts),
      settled: async () => {
        await store.#owned.get(refId)?.parts.catch(() => {});
      },
      get isSettled() {
        return store.#owned.get(refId)?.settled ?? true;
      },
      release: () => {
        this.#owned.delete(refId);
      },
    };
  }

  #remote(wire: ObjectRefWire): RefSource {
    let fetched: Promise<Parts> | undefined;
    let settled = false;
    const fetch = (): Promise<Parts> => {
      fetched ??= this.#fetch(wire).finally(() => {
        settled = true;
      });
      return fetched;
    };
    return {
      value: async () => this.#options.decode(await fetch()),
      settled: async () => {
        await fetch().catch(() => {});
      },
      get isSettled() {
        return settled;
      },
      release: () => {
        fetched = Promise.reject(freed(wire.id));
        fetched.catch(() => {});
      },
    };
  }

  async #fetch(wire: ObjectRefWire): Promise<Parts> {
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

function freed(refId: string): ObjectLostError {
  return new ObjectLostError({ code: "OBJECT_FREED", message: `Object ${refId} was freed by its owner` });
}

function ownerDied(wire: ObjectRefWire, cause?: unknown): OwnerDiedError {
  return new OwnerDiedError({ message: `The owner of object ${wire.id}, ${wire.ownerAddress}, is gone`, cause });
}
