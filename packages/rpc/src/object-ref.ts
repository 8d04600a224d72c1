/**
 * A class whose instances travel as one of ours (an ObjectRef, an actor handle) has a method of this name that gives the
 * `ObjectRefWire`, `ActorHandleWire` or `Tensor` to send. Functions (proxies of handles) may have it too.
 */
export const TO_WIRE: unique symbol = Symbol.for("whipray.toWire") as never;

/** An ObjectRef as it travels: who owns the object, and where it may lie (design.md, mechanism 7). */
export class ObjectRefWire {
  readonly id: string;
  readonly ownerAddress: string;
  readonly ownerIncarnation: string;
  /** Bytes, when they are known. */
  readonly sizeHint: number | undefined;
  /** Address of a raylet that holds a copy, when one is known. */
  readonly locationHint: string | undefined;

  constructor(
    id: string,
    ownerAddress: string,
    ownerIncarnation: string,
    sizeHint?: number | undefined,
    locationHint?: string | undefined,
  ) {
    this.id = id;
    this.ownerAddress = ownerAddress;
    this.ownerIncarnation = ownerIncarnation;
    this.sizeHint = sizeHint;
    this.locationHint = locationHint;
  }
}

/**
 * A value, or the values of a whole message, that lie in a node's object store (PROTOCOL.md, "Objects"). As an argument it stands for
 * the value itself: the callee gets it from there before the method runs.
 */
export class StoredWire {
  readonly id: string;
  readonly ownerAddress: string;
  readonly ownerIncarnation: string;
  readonly bytes: number;
  /** Address of the raylet that has it. */
  readonly location: string;

  constructor(id: string, ownerAddress: string, ownerIncarnation: string, bytes: number, location: string) {
    this.id = id;
    this.ownerAddress = ownerAddress;
    this.ownerIncarnation = ownerIncarnation;
    this.bytes = bytes;
    this.location = location;
  }
}

/** A handle of an actor as it travels. */
export class ActorHandleWire {
  readonly actorId: string;
  /** Who passed it on and counts it; the head's where nobody counts. */
  readonly ownerAddress: string;
  /** Name of this passing-on at its owner, who keeps the actor until it is given back (PROTOCOL.md, "Actors"). */
  readonly loan: string | undefined;

  constructor(actorId: string, ownerAddress: string, loan?: string | undefined) {
    this.actorId = actorId;
    this.ownerAddress = ownerAddress;
    this.loan = loan;
  }
}
