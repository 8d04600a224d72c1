import { inspect } from "node:util";
import { ObjectRefWire, type Parts, type StoredWire, TO_WIRE } from "@whipray/rpc";
import type { Cancelling } from "./cancelling.ts";

/** Where a ref's value comes from. */
export interface RefSource {
  /** The parts of its value as its owner has them: `Stored` when they lie in a node's store. Rejects as `value`. */
  parts(): Promise<Parts>;
  /** The value; rejects with the error of the call that was to make it. */
  value(): Promise<unknown>;
  /** Settles (never rejects) when the value or its error is there; with `fetchLocal`, when it lies on this machine. */
  settled(fetchLocal: boolean): Promise<void>;
  readonly isSettled: boolean;
  /** Whether `settled` would settle at once, as far as is known without asking. */
  isReady(fetchLocal: boolean): boolean;
  /** Where it lies, when that is known and it is not in its owner. */
  readonly stored: StoredWire | undefined;
  /** The way to cancel what makes it, where that is a call of this process. */
  readonly cancelling?: Cancelling | undefined;
  /** The ref goes to another process: from now on somebody else may ask for the value. */
  passedOn(): void;
  /** Detaches what this process got of it. */
  detach(): boolean;
  /** Frees it. */
  release(): void;
}

/**
 * A value that is somewhere, or will be (Ray: `ObjectRef`). Not thenable on purpose: it can be returned from async functions and
 * passed on. Read it with `get`, wait for it with `wait`. Its scope ends with `dispose()` (or `using`), else with its owner's session;
 * sooner when it was never passed on and nobody can reach it any more.
 */
export class ObjectRef<T = unknown> implements Disposable {
  readonly id: string;
  readonly ownerAddress: string;
  readonly ownerIncarnation: string;
  #source: RefSource | undefined;
  readonly #open: (ref: ObjectRef) => RefSource;
  declare readonly __type?: T;

  /** `open` is asked once, when the value is needed: most of the refs in a long list never are. */
  constructor(id: string, ownerAddress: string, ownerIncarnation: string, open: (ref: ObjectRef) => RefSource) {
    this.id = id;
    this.ownerAddress = ownerAddress;
    this.ownerIncarnation = ownerIncarnation;
    this.#open = open;
  }

  /** For `get` and `wait`. */
  get source(): RefSource {
    this.#source ??= this.#open(this);
    return this.#source;
  }

  /** The value is not needed any more. A later `get` fails with `OBJECT_FREED`; what was got stays readable. */
  dispose(): void {
    this.source.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /**
   * Gives back the shared memory that this process mapped for the value: arrays that `get` gave have length 0 from now on. The
   * object stays; another `get` maps it again. Without it the memory goes when no array can be reached any more. False: nothing
   * was mapped (values up to 100 KiB are copies).
   */
  release(): boolean {
    return this.source.detach();
  }

  [TO_WIRE](): ObjectRefWire {
    const { stored } = this.source;
    this.source.passedOn();
    return new ObjectRefWire(this.id, this.ownerAddress, this.ownerIncarnation, stored?.bytes, stored?.location);
  }

  toJSON(): string {
    return this.id;
  }

  [inspect.custom](): string {
    return `ObjectRef(${this.id})`;
  }
}
