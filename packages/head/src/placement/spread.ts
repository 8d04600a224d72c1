import {
  allows,
  type BundleRequest,
  emptiness,
  hardestFirst,
  type PlacedOn,
  type Placement,
  type PlaceRequest,
  shapeOf,
  wastesDevices,
} from "./request.ts";
import { lookAt, type NodeRoom, Room } from "./room.ts";
import { SearchBudget, search } from "./search.ts";

/** One node a bundle, never one that holds a surviving bundle of the group. Exact: a matching, not a guess. */
export function placeStrictSpread(request: PlaceRequest, rooms: readonly NodeRoom[]): Placement | undefined {
  const kept = new Set(request.keptNodeIds);
  const free = rooms.filter((room) => !kept.has(room.nodeId)).map(lookAt);
  if (request.bundles.length > free.length) return undefined;
  const holders = new Map<Room, BundleRequest>();
  const candidates = new Map<string, Room[]>();
  const candidatesFor = (bundle: BundleRequest): Room[] => {
    const shape = shapeOf(bundle);
    const rooms = candidates.get(shape) ?? emptiestFirst(bundle, free);
    candidates.set(shape, rooms);
    return rooms;
  };
  for (const bundle of hardestFirst(request.bundles)) {
    if (!augment(bundle, candidatesFor, holders)) return undefined;
  }
  return [...holders].map(([room, bundle]) => ({
    index: bundle.index,
    nodeId: room.nodeId,
    devices: new Room(room.snapshot()).take(bundle)!,
  }));
}

/** Finds a node for `bundle`, moving earlier bundles to other nodes where that helps (Kuhn's algorithm, breadth first). */
function augment(
  bundle: BundleRequest,
  candidatesFor: (bundle: BundleRequest) => readonly Room[],
  holders: Map<Room, BundleRequest>,
): boolean {
  const cameFrom = new Map<Room, { bundle: BundleRequest; from: Room | undefined }>();
  const queue: { bundle: BundleRequest; at: Room | undefined }[] = [{ bundle, at: undefined }];
  for (let head = 0; head < queue.length; head++) {
    const { bundle: mover, at } = queue[head]!;
    for (const room of candidatesFor(mover)) {
      if (cameFrom.has(room)) continue;
      cameFrom.set(room, { bundle: mover, from: at });
      const holder = holders.get(room);
      if (holder) {
        queue.push({ bundle: holder, at: room });
        continue;
      }
      for (let step: Room | undefined = room; step; ) {
        const move: { bundle: BundleRequest; from: Room | undefined } = cameFrom.get(step)!;
        holders.set(step, move.bundle);
        step = move.from;
      }
      return true;
    }
  }
  return false;
}

function emptiestFirst(bundle: BundleRequest, rooms: readonly Room[]): Room[] {
  return rooms
    .filter((room) => allows(room, bundle))
    .map((room) => ({ room, waste: wastesDevices(room, bundle.units), empty: emptiness(room, bundle.units) }))
    .sort((a, b) => a.waste - b.waste || b.empty - a.empty)
    .map(({ room }) => room);
}

/** A node of its own for each bundle when there are enough; else the node with the fewest of the group that still has room. */
export function placeSpread(request: PlaceRequest, rooms: readonly NodeRoom[]): Placement | undefined {
  return (
    placeStrictSpread(request, rooms) ??
    fewestFirst(request, rooms) ??
    search(request.bundles, rooms, new SearchBudget())
  );
}

function fewestFirst(request: PlaceRequest, nodes: readonly NodeRoom[]): Placement | undefined {
  // Copied when something is taken from them.
  const rooms = nodes.map(lookAt);
  const load = new Map<string, number>();
  for (const nodeId of request.keptNodeIds) load.set(nodeId, (load.get(nodeId) ?? 0) + 1);
  const placed: PlacedOn[] = [];
  for (const bundle of hardestFirst(request.bundles)) {
    let best: { at: number; room: Room; load: number; empty: number } | undefined;
    for (const [at, room] of rooms.entries()) {
      if (!allows(room, bundle)) continue;
      const here = { at, room, load: load.get(room.nodeId) ?? 0, empty: emptiness(room, bundle.units) };
      if (!best || here.load < best.load || (here.load === best.load && here.empty > best.empty)) best = here;
    }
    if (!best) return undefined;
    const room = best.room === lookAt(nodes[best.at]!) ? new Room(nodes[best.at]!) : best.room;
    rooms[best.at] = room;
    placed.push({ index: bundle.index, nodeId: room.nodeId, devices: room.take(bundle)! });
    load.set(room.nodeId, best.load + 1);
  }
  return placed;
}
