import {
  allows,
  type BundleRequest,
  emptiness,
  hardestFirst,
  mayHold,
  type PlacedOn,
  type Placement,
  type PlaceRequest,
  shapeOf,
  sumUnits,
  wastesDevices,
} from "./request.ts";
import { type NodeRoom, Room } from "./room.ts";
import { packsBadly, SearchBudget, search } from "./search.ts";

/** All bundles on one node: the one that they leave fullest; among equals the first. */
export function placeStrictPack(request: PlaceRequest, rooms: readonly NodeRoom[]): Placement | undefined {
  const kept = new Set(request.keptNodeIds);
  const allowed = kept.size === 0 ? rooms : rooms.filter((room) => kept.has(room.nodeId));
  return onOneNode(request.bundles, allowed, new SearchBudget());
}

/** As few nodes as it can: one if one holds all, else node by node the one that takes most of the rest (ray.md 2.3). */
export function placePack(request: PlaceRequest, rooms: readonly NodeRoom[]): Placement | undefined {
  const budget = new SearchBudget();
  const kept = new Set(request.keptNodeIds);
  const near = rooms.filter((room) => kept.has(room.nodeId));
  return (
    onOneNode(request.bundles, near, budget) ??
    onOneNode(request.bundles, rooms, budget) ??
    pourAll(request, rooms) ??
    search(
      request.bundles,
      rooms.map((room) => new Room(room)),
      budget,
    )
  );
}

function onOneNode(
  bundles: readonly BundleRequest[],
  rooms: readonly NodeRoom[],
  budget: SearchBudget,
): Placement | undefined {
  const sum = sumUnits(bundles);
  const candidates = rooms.map((room) => new Room(room)).filter((room) => mayHold(room, sum));
  const scored = candidates.map((room) => ({ room, waste: wastesDevices(room, sum), empty: emptiness(room, sum) }));
  scored.sort((a, b) => a.waste - b.waste || a.empty - b.empty);
  const refused = new Set<string>();
  for (const { room } of scored) {
    const signature = refused.size > 0 || packsBadly(bundles, room) ? room.signature() : "";
    if (refused.has(signature)) continue;
    const poured = pour(hardestFirst(bundles), new Room(room.snapshot()));
    if (poured.rest.length === 0) return poured.placed;
    const found = packsBadly(bundles, room) ? search(bundles, [room], budget) : undefined;
    if (found) return found;
    refused.add(signature || room.signature());
  }
  return undefined;
}

function pourAll(request: PlaceRequest, rooms: readonly NodeRoom[]): Placement | undefined {
  const kept = new Set(request.keptNodeIds);
  const placed: PlacedOn[] = [];
  // Twins take the same, so only the first of each kind is looked at.
  const kinds = Map.groupBy(rooms, (node) => `${kept.has(node.nodeId)} ${new Room(node).signature()}`);
  let rest = hardestFirst(request.bundles);
  while (rest.length > 0) {
    const best = mostTaken(rest, kinds.values(), kept);
    if (!best) return undefined;
    placed.push(...best.placed);
    rest = best.rest;
    for (const twins of kinds.values()) if (twins[0] === best.node) twins.shift();
  }
  return placed;
}

interface Poured {
  placed: PlacedOn[];
  rest: BundleRequest[];
}

function mostTaken(
  bundles: readonly BundleRequest[],
  kinds: Iterable<readonly NodeRoom[]>,
  kept: ReadonlySet<string>,
): (Poured & { node: NodeRoom }) | undefined {
  let best: (Poured & { node: NodeRoom; rank: number[] }) | undefined;
  const wanted = sumUnits(bundles);
  for (const [node] of kinds) {
    if (!node) continue;
    const room = new Room(node);
    const poured = pour(bundles, room);
    if (poured.placed.length === 0) continue;
    const taken = new Set(poured.placed.map((one) => one.index));
    const units = sumUnits(bundles.filter((bundle) => taken.has(bundle.index)));
    const left = emptiness(new Room(node), units);
    const rank = [kept.has(node.nodeId) ? 0 : 1, -poured.placed.length, wastesDevices(room, wanted), left];
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
    const shape = shapeOf(bundle);
    const devices = !tooLarge.has(shape) && allows(room, bundle) ? room.take(bundle) : undefined;
    if (devices) placed.push({ index: bundle.index, nodeId: room.nodeId, devices });
    else {
      tooLarge.add(shape);
      rest.push(bundle);
    }
  }
  return { placed, rest };
}
