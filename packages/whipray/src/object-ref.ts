import { inspect } from "node:util";
import { ObjectRefWire, TO_WIRE } from "@whipray/rpc";

/** Where a ref's value comes from. */
export interface RefSource {
  /** The value; rejects with the error of the call that was to make it. */
  value(options?: { signal?: AbortSignal | undefined; timeoutMs?: number | undefined }): Promise<unknown>;
  /** Settles (never rejects) when the value or its error is there. */
  settled(): Promise<void>;
  readonly isSettled: boolean;
  release(): void;
}

/**
 * A value that is somewhere, or will be (Ray: `ObjectRef`). Not thenable on purpose: it can be returned from async functions and
 * passed on. Read it with `get`, wait for it with `wait`. Its scope ends with `dispose()` (or `using`), else with its owner's session.
 */
export class ObjectRef<T = unknown> implements Disposable {
  readonly id: string;
  readonly ownerAddress: string;
  readonly ownerIncarnation: string;
  readonly #source: RefSource;
  declare readonly __type?: T;

  constructor(id: string, ownerAddress: string, ownerIncarnation: string, source: RefSource) {
    this.id = id;
    this.ownerAddress = ownerAddress;
    this.ownerIncarnation = ownerIncarnation;
    this.#source = source;
  }

  /** For `get` and `wait`. */
  get source(): RefSource {
    return this.#source;
  }

  /** The value is not needed any more. A later `get` fails with `OBJECT_FREED`. */
  dispose(): void {
    this.#source.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  [TO_WIRE](): ObjectRefWire {
    return new ObjectRefWire(this.id, this.ownerAddress, this.ownerIncarnation);
  }

  toJSON(): string {
    return this.id;
  }

  [inspect.custom](): string {
    return `ObjectRef(${this.id})`;
  }
}
