import {
  allows,
  type BundleRequest,
  emptiness,
  hardestFirst,
  mayHold,
  type PlacedOn,
  type Placement,
  type PlaceRequest,
  sumUnits,
  wastesDevices,
} from "./request.ts";
import { type NodeRoom, Room } from "./room.ts";
import { search } from "./search.ts";

/** All bundles on one node: the one that they leave fullest; among equals the first. */
export function placeStrictPack(request: PlaceRequest, rooms: readonly NodeRoom[]): Placement | undefined {
  const kept = new Set(request.keptNodeIds);
  const allowed = kept.size === 0 ? rooms : rooms.filter((room) => kept.has(room.nodeId));
  return onOneNode(request.bundles, allowed);
}

/** As few nodes as it can: one if one holds all, else node by node the one that takes most of the rest (ray.md 2.3). */
export function placePack(request: PlaceRequest, rooms: readonly NodeRoom[]): Placement | undefined {
  const kept = new Set(request.keptNodeIds);
  const near =
    kept.size === 0
      ? undefined
      : onOneNode(
          request.bundles,
          rooms.filter((room) => kept.has(room.nodeId)),
        );
  return (
    near ??
    onOneNode(request.bundles, rooms) ??
    pourAll(request, rooms) ??
    search(
      request.bundles,
      rooms.map((room) => new Room(room)),
    )
  );
}

function onOneNode(bundles: readonly BundleRequest[], rooms: readonly NodeRoom[]): Placement | undefined {
  const sum = sumUnits(bundles);
  const candidates = rooms.map((room) => new Room(room)).filter((room) => mayHold(room, sum));
  const scored = candidates.map((room) => ({ room, waste: wastesDevices(room, sum), empty: emptiness(room, sum) }));
  scored.sort((a, b) => a.waste - b.waste || a.empty - b.empty);
  const refused = new Set<string>();
  for (const { room } of scored) {
    const signature = room.signature();
    if (refused.has(signature)) continue;
    const poured = pour(hardestFirst(bundles), new Room(room.snapshot()));
    if (poured.rest.length === 0) return poured.placed;
    const found = search(bundles, [room]);
    if (found) return found;
    refused.add(signature);
  }
  return undefined;
}

function pourAll(request: PlaceRequest, rooms: readonly NodeRoom[]): Placement | undefined {
  const placed: PlacedOn[] = [];
  const unused = new Set(rooms);
  const kept = new Set(request.keptNodeIds);
  let rest = hardestFirst(request.bundles);
  while (rest.length > 0) {
    const best = mostTaken(rest, unused, kept);
    if (!best) return undefined;
    placed.push(...best.placed);
    rest = best.rest;
    unused.delete(best.node);
  }
  return placed;
}

interface Poured {
  placed: PlacedOn[];
  rest: BundleRequest[];
}

function mostTaken(
  bundles: readonly BundleRequest[],
  nodes: ReadonlySet<NodeRoom>,
  kept: ReadonlySet<string>,
): (Poured & { node: NodeRoom }) | undefined {
  let best: (Poured & { node: NodeRoom; rank: number[] }) | undefined;
  const seen = new Set<string>();
  for (const node of nodes) {
    const room = new Room(node);
    const signature = `${kept.has(node.nodeId)} ${room.signature()}`;
    if (seen.has(signature)) continue; // A twin of an earlier node takes the same: the earlier one wins.
    seen.add(signature);
    const waste = wastesDevices(room, sumUnits(bundles));
    const poured = pour(bundles, room);
    if (poured.placed.length === 0) continue;
    const left = emptiness(new Room(node), sumUnits(bundles.filter((bundle) => !poured.rest.includes(bundle))));
    const rank = [kept.has(node.nodeId) ? 0 : 1, -poured.placed.length, waste, left];
    if (!best || lower(rank, best.rank)) best = { ...poured, node, rank };
  }
  return best;
}

function lower(left: readonly number[], right: readonly number[]): boolean {
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return left[i]! < right[i]!;
  return false;
}

/** Takes each bundle that still fits, in order. A shape that did not fit once is not tried again. */
export function pour(bundles: readonly BundleRequest[], room: Room): Poured {
  const placed: PlacedOn[] = [];
  const rest: BundleRequest[] = [];
  const tooLarge = new Set<string>();
  for (const bundle of bundles) {
    const shape = JSON.stringify([bundle.units, bundle.labels]);
    const devices = !tooLarge.has(shape) && allows(room, bundle) ? room.take(bundle.units) : undefined;
    if (devices) placed.push({ index: bundle.index, nodeId: room.nodeId, devices });
    else {
      tooLarge.add(shape);
      rest.push(bundle);
    }
  }
  return { placed, rest };
}
