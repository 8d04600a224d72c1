import type { Strategy } from "@whipray/rpc";
import { placePack, placeStrictPack } from "./pack.ts";
import type { Placement, PlaceRequest } from "./request.ts";
import type { NodeRoom } from "./room.ts";
import { placeSpread, placeStrictSpread } from "./spread.ts";

type Policy = (request: PlaceRequest, rooms: readonly NodeRoom[]) => Placement | undefined;

const POLICIES: Readonly<Record<Strategy, Policy>> = {
  PACK: placePack,
  SPREAD: placeSpread,
  STRICT_PACK: placeStrictPack,
  STRICT_SPREAD: placeStrictSpread,
};

/**
 * A node and devices for every bundle, in the order of their indices, or undefined: never a part of them. The same input always
 * gives the same answer; among equal nodes the earlier in `rooms` wins.
 */
export function place(request: PlaceRequest, rooms: readonly NodeRoom[]): Placement | undefined {
  const placement = POLICIES[request.strategy](request, rooms);
  return placement && [...placement].sort((a, b) => a.index - b.index);
}
