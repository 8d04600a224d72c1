import { type ActorHandleWire, decodeValues, type Parts, type Revive } from "@whipray/rpc";
import { makeHandle } from "./actor-handle.ts";
import { ActorLink } from "./actor-link.ts";
import type { Driver } from "./driver.ts";

const inCalls = new WeakMap<Driver, Revive>();
const inObjects = new WeakMap<Driver, Revive>();

/** The value of parts that came in a call; refs and handles in it are alive in this process. */
export function decode(driver: Driver, parts: Parts): unknown {
  return revived(parts, reviveCall(driver));
}

/** The value of an object, which anybody may read, any number of times: handles in it are not counted. */
export function decodeObject(driver: Driver, parts: Parts): unknown {
  let revive = inObjects.get(driver);
  if (!revive) {
    revive = { objectRef: (wire) => driver.objects.adopt(wire), actorHandle: (wire) => handleOf(driver, wire, false) };
    inObjects.set(driver, revive);
  }
  return revived(parts, revive);
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
