import {
  type ActorHandleWire,
  decodeValues,
  mayHaveHandles,
  type ObjectRefWire,
  type Parts,
  type Revive,
  TO_WIRE,
} from "@whipray/rpc";
import { makeHandle } from "./actor-handle.ts";
import { ActorLink } from "./actor-link.ts";
import type { ActorScopes } from "./actor-scopes.ts";
import type { Driver } from "./driver.ts";

const inCalls = new WeakMap<Driver, Revive>();
const inObjects = new WeakMap<Driver, Revive>();

/** The value of parts that came in a call; refs and handles in it are alive in this process. */
export function decode(driver: Driver, parts: Parts): unknown {
  return revived(parts, reviveCall(driver));
}

/** The value of an object, which anybody may read, any number of times; it comes when handles in it are counted for this reader. */
export function decodeObject(driver: Driver, parts: Parts): unknown {
  let revive = inObjects.get(driver);
  if (!revive) {
    revive = {
      objectRef: (wire) => driver.objects.adopt(wire),
      actorHandle: (wire) => handleOf(driver, wire, driver.scopes.read(wire)),
    };
    inObjects.set(driver, revive);
  }
  const value = revived(parts, revive);
  const counted = driver.scopes.settled;
  return counted ? counted.then(() => value) : value;
}

/** The value of an object that goes into a call at once: handles in it are those of the callee. */
export function decodeArgument(driver: Driver, parts: Parts): unknown {
  const objectRef = (wire: ObjectRefWire): unknown => driver.objects.adopt(wire);
  return revived(parts, { objectRef, actorHandle: (wire) => new PassingHandle(driver.scopes, wire) });
}

/** Handles in a result that became an object: they are the object's. */
export function keepHandles(driver: Driver, object: string, parts: Parts): void {
  if (!mayHaveHandles(parts[0])) return;
  try {
    decodeValues(parts, { actorHandle: (wire) => driver.scopes.keep(object, wire) });
  } catch {
    // Whoever gets the value hears of it.
  }
}

class PassingHandle {
  readonly #scopes: ActorScopes;
  readonly #wire: ActorHandleWire;

  constructor(scopes: ActorScopes, wire: ActorHandleWire) {
    this.#scopes = scopes;
    this.#wire = wire;
  }

  [TO_WIRE](): ActorHandleWire {
    const { actorId } = this.#wire;
    const counted = this.#scopes.read(this.#wire);
    const lent = this.#scopes.lend(actorId);
    if (counted) this.#scopes.released(actorId);
    return lent;
  }
}

/** Makes refs and handles of a call alive in this process. */
export function reviveCall(driver: Driver): Revive {
  let revive = inCalls.get(driver);
  if (!revive) {
    revive = {
      objectRef: (wire) => driver.objects.adopt(wire),
      actorHandle: (wire) => handleOf(driver, wire, driver.scopes.received(wire)),
    };
    inCalls.set(driver, revive);
  }
  return revive;
}

function handleOf(driver: Driver, { actorId }: ActorHandleWire, counted: boolean): unknown {
  const origin = { className: "Actor", counted: counted ? ("borrowed" as const) : undefined };
  return makeHandle(driver, new ActorLink(driver, actorId), origin);
}

function revived(parts: Parts, revive: Revive): unknown {
  return parts.length === 0 || parts[0]?.length === 0 ? undefined : decodeValues(parts, revive);
}
