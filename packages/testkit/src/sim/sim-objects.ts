import type { Clock, IdSource } from "@whipray/core";
import { loadObjectService } from "@whipray/raylet";
import { decodeValues, type Endpoint, type Parts, type Revive, TO_WIRE } from "@whipray/rpc";
import { type Garbage, loadObjectClient, type ObjectAccess } from "@whipray/worker";
import { daemons, type ObjectRef } from "whipray";
import type { History } from "./history.ts";

/** What daemons load with their first object. A simulated clock would go on meanwhile, so it is done before one starts. */
export async function loadObjects(): Promise<void> {
  await Promise.all([loadObjectClient(), loadObjectService()]);
}

/** A value of a simulation: `words` words, all `mark`. No two objects have the same mark. */
export interface Marked {
  readonly mark: number;
  readonly words: number;
}

/** An object of a simulation, as its owner knows it. */
export interface ObjectLife extends Marked {
  readonly ref: ObjectRef;
  readonly owner: SimObjects;
  /** Whether the raylet process that has it lives; undefined: it lies in its owner. */
  readonly keeper: (() => boolean) | undefined;
  disposed: boolean;
}

export interface SimObjectsParts {
  /** The process, as people read it. */
  readonly process: string;
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly viaUrl: string;
  readonly access: ObjectAccess;
  readonly history: History;
  readonly isAlive: () => boolean;
}

/** The objects of one simulated process: the real table of what it owns over the real client of the stores. */
export class SimObjects {
  readonly process: string;
  readonly access: ObjectAccess;
  readonly store: daemons.ObjectStore;
  readonly #clock: Clock;
  readonly #history: History;
  readonly #isAlive: () => boolean;
  readonly #garbage = new Set<ArrayBufferLike>();
  /** Garbage collection must not decide what happens: nothing that a process got is collected before it lets go. */
  readonly #kept = new Set<unknown>();

  constructor({ process, endpoint, clock, ids, viaUrl, access, history, isAlive }: SimObjectsParts) {
    this.process = process;
    this.access = access;
    this.#clock = clock;
    this.#history = history;
    this.#isAlive = isAlive;
    const store: daemons.ObjectStore = new daemons.ObjectStore({
      ...{
        endpoint,
        ids,
        viaUrl,
        access,
        keeping: (_object, encode) => encode(),
        keepHandles: () => {},
        forget: () => {},
      },
      ...{ decode: (parts) => this.decode(parts), decodeArgument: (parts) => this.decode(parts) },
    });
    this.store = store;
    history.owners.set(`${endpoint.address} ${endpoint.incarnation}`, this);
    endpoint.serveRaw(daemons.objectGet, (request, call) => store.serve(request, call));
  }

  get alive(): boolean {
    return this.#isAlive();
  }

  decode(parts: Parts): unknown {
    return decodeValues(parts, this.revive);
  }

  /** What came in a message is alive here. */
  get revive(): Revive {
    return { objectRef: (wire) => this.keep(this.store.adopt(wire)) };
  }

  keep<T>(value: T): T {
    this.#kept.add(value);
    return value;
  }

  async put(value: Marked): Promise<ObjectRef> {
    return this.keep(await this.store.put(valueWith(value)));
  }

  /** A ref of ours to what `parts` will be. */
  own(parts: Promise<Parts>): ObjectRef {
    return this.keep(this.store.own(parts));
  }

  /** The ref of another process, as it comes in a message. */
  refTo({ ref, owner }: Pick<ObjectLife, "ref" | "owner">): ObjectRef {
    return owner === this ? ref : this.keep(this.store.adopt(ref[TO_WIRE]()));
  }

  argument(ref: ObjectRef): Promise<unknown> {
    return this.store.argument(ref);
  }

  /** The value; what is not what was put is noted. @throws what became of it. */
  async get(ref: ObjectRef, expected: Marked, timeoutMs: number): Promise<void> {
    const value = this.keep(await daemons.getRefs(this.#clock, ref, { timeoutMs }));
    this.#history.got(`${ref.id} in ${this.process}`, value, expected);
  }

  async wait(refs: readonly ObjectRef[], numReturns: number, timeoutMs: number): Promise<[ObjectRef[], ObjectRef[]]> {
    return daemons.waitRefs(this.#clock, refs, { numReturns, timeoutMs });
  }

  /** A value that came in a call is used: no garbage. */
  use(value: Uint32Array): void {
    this.keep(value);
    this.#garbage.delete(value.buffer);
  }

  /** Nobody uses it any more; `now`: its memory is detached at once, else when garbage is collected. */
  async leave({ buffer }: Uint32Array, now: boolean): Promise<void> {
    this.#garbage.add(buffer);
    if (now) await this.#collect([buffer]);
  }

  async #collect(buffers: Iterable<ArrayBufferLike>): Promise<void> {
    const client = await this.access.client();
    for (const buffer of buffers) {
      const object = client.objectOf(buffer);
      if (object !== undefined && this.#garbage.has(buffer)) client.release(object);
      this.#garbage.delete(buffer);
    }
  }

  /** The twin of V8's collector: idle, and it finds what nobody uses. */
  readonly garbage: Garbage = { collect: () => void this.#collect([...this.#garbage]), load: () => 0 };
}

export function valueWith({ mark, words }: Marked): Uint32Array {
  return new Uint32Array(words).fill(mark);
}

/** What a value is; undefined for one that nobody put. */
export function marked(value: unknown): Marked | undefined {
  if (!(value instanceof Uint32Array) || value.length === 0) return undefined;
  const mark = value[0]!;
  return value.every((word) => word === mark) ? { mark, words: value.length } : undefined;
}
