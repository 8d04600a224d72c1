import { decodeValues, type Parts } from "@whipray/rpc";
import { makeHandle } from "./actor-handle.ts";
import { ActorLink } from "./actor-link.ts";
import type { Driver } from "./driver.ts";

/** The value of parts that came over the wire; refs and handles in it are alive in this process. */
export function decode(driver: Driver, parts: Parts): unknown {
  if (parts.length === 0 || parts[0]?.length === 0) return undefined;
  return decodeValues(parts, {
    objectRef: (wire) => driver.objects.adopt(wire),
    actorHandle: (wire) => makeHandle(driver, new ActorLink(driver, wire.actorId), "Actor"),
  });
}
