import type { Parts, StoredWire } from "@whipray/rpc";
import type { ObjectRef, RefSource } from "./object-ref.ts";

/** An object of another process. */
export type RemoteRef = Pick<ObjectRef, "id" | "ownerAddress" | "ownerIncarnation">;

/** What refs of other processes need of this one's store. */
export interface RemoteObjects {
  /** The parts as the owner has them. */
  fetch(wire: RemoteRef): Promise<Parts>;
  storedOf(parts: Parts): StoredWire | undefined;
  /** The value of parts, wherever they lie. */
  valueOf(parts: Parts): Promise<unknown>;
  /** Whether the value is on this machine now. Never rejects. */
  fetchLocal(parts: Parts): Promise<boolean>;
  detach(stored: StoredWire | undefined): boolean;
  freed(wire: RemoteRef): Error;
}

/** The value of a ref that another process owns. A class, and one set of functions for all: a value may hold tens of thousands of refs. */
export class RemoteSource implements RefSource {
  readonly #objects: RemoteObjects;
  readonly #wire: RemoteRef;
  #fetched: Promise<Parts> | undefined;
  #settled = false;
  #here = false;
  #stored: StoredWire | undefined;

  constructor(objects: RemoteObjects, wire: RemoteRef) {
    this.#objects = objects;
    this.#wire = wire;
  }

  parts(): Promise<Parts> {
    this.#fetched ??= this.#fetch();
    return this.#fetched;
  }

  async #fetch(): Promise<Parts> {
    try {
      const parts = await this.#objects.fetch(this.#wire);
      this.#stored = this.#objects.storedOf(parts);
      return parts;
    } finally {
      this.#settled = true;
    }
  }

  async value(): Promise<unknown> {
    return this.#objects.valueOf(await this.parts());
  }

  async settled(fetchLocal: boolean): Promise<void> {
    const parts = await this.parts().catch(() => undefined);
    if (fetchLocal && parts) this.#here = await this.#objects.fetchLocal(parts);
  }

  get isSettled(): boolean {
    return this.#settled;
  }

  isReady(fetchLocal: boolean): boolean {
    return this.#settled && (!fetchLocal || this.#here || this.#stored === undefined);
  }

  get stored(): StoredWire | undefined {
    return this.#stored;
  }

  passedOn(): void {} // its owner knows

  detach(): boolean {
    return this.#objects.detach(this.#stored);
  }

  release(): void {
    this.#fetched = Promise.reject(this.#objects.freed(this.#wire));
    this.#fetched.catch(() => {});
  }
}
