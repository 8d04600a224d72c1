import { decodeValues, type Parts, type Revive } from "@whipray/rpc";
import { makeHandle } from "./actor-handle.ts";
import { ActorLink } from "./actor-link.ts";
import type { Driver } from "./driver.ts";

const revives = new WeakMap<Driver, Revive>();

/** The value of parts that came over the wire; refs and handles in it are alive in this process. */
export function decode(driver: Driver, parts: Parts): unknown {
  if (parts.length === 0 || parts[0]?.length === 0) return undefined;
  let revive = revives.get(driver);
  if (!revive) {
    revive = {
      objectRef: (wire) => driver.objects.adopt(wire),
      actorHandle: (wire) => makeHandle(driver, new ActorLink(driver, wire.actorId), "Actor"),
    };
    revives.set(driver, revive);
  }
  return decodeValues(parts, revive);
}
