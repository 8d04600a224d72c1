import { place } from "./place.ts";
import { type PlaceRequest, sumUnits } from "./request.ts";
import { lookAt, type NodeRoom, Room } from "./room.ts";
import { ReducedRooms, type RoomIndex, type Rooms } from "./room-index.ts";

/** Nodes that a starving group waits for: bundle index → node. What frees up there is kept for it. */
export type Reservation = ReadonlyMap<number, string>;

/**
 * Chooses what a starving group waits for: a placement in the emptied cluster, on the fewest of the nodes that are freest now.
 * Undefined when it is infeasible: such a group reserves nothing.
 */
export function reserve(
  request: PlaceRequest,
  now: readonly NodeRoom[],
  total: readonly NodeRoom[],
): Reservation | undefined {
  const sum = sumUnits(request.bundles);
  const free = new Map(now.map((node) => [node.nodeId, share(node, sum)]));
  const byFree = total
    .filter((node) => free.has(node.nodeId))
    .sort((a, b) => free.get(b.nodeId)! - free.get(a.nodeId)!);
  for (let nodes = 1; nodes <= byFree.length; nodes++) {
    const placement = place(request, byFree.slice(0, nodes));
    if (placement) return new Map(placement.map(({ index, nodeId }) => [index, nodeId]));
  }
  return undefined;
}

/** How much of the wanted amounts is free on a node. */
function share(node: NodeRoom, wanted: Readonly<Record<string, number>>): number {
  const room = lookAt(node);
  return Object.keys(wanted).reduce((sum, name) => sum + Math.min(1, room.amount(name) / wanted[name]!), 0);
}

/** The rooms without what is held for others: free amounts on the reserved nodes, up to what the bundles there ask for. */
export function without(rooms: RoomIndex, held: readonly { request: PlaceRequest; reservation: Reservation }[]): Rooms {
  if (held.length === 0) return rooms;
  const reduced = new Map<string, Room>();
  for (const { request, reservation } of held) {
    for (const bundle of request.bundles) {
      const node = rooms.get(reservation.get(bundle.index) ?? "");
      if (!node) continue;
      const room = reduced.get(node.nodeId) ?? new Room(node);
      room.hold(bundle.units);
      reduced.set(node.nodeId, room);
    }
  }
  return new ReducedRooms(rooms, new Map([...reduced].map(([nodeId, room]) => [nodeId, room.snapshot()])));
}
