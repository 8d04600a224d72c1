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
  sightOf,
  sumUnits,
  wastesDevices,
} from "./request.ts";
import { lookAt, type NodeRoom, Room, signatureOf } from "./room.ts";
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
    search(request.bundles, rooms, budget)
  );
}

function onOneNode(
  bundles: readonly BundleRequest[],
  rooms: readonly NodeRoom[],
  budget: SearchBudget,
): Placement | undefined {
  const sum = sumUnits(bundles);
  const scored: { node: NodeRoom; waste: number; empty: number }[] = [];
  for (const node of rooms) {
    const room = lookAt(node);
    if (mayHold(room, sum)) scored.push({ node, waste: wastesDevices(room, sum), empty: emptiness(room, sum) });
  }
  scored.sort((a, b) => a.waste - b.waste || a.empty - b.empty);
  const sight = sightOf(bundles);
  const refused = new Set<string>();
  for (const { node } of scored) {
    const badly = packsBadly(bundles, lookAt(node));
    if (refused.size > 0 && refused.has(signatureOf(node, sight))) continue;
    const poured = pour(hardestFirst(bundles), new Room(node));
    if (poured.rest.length === 0) return poured.placed;
    const found = badly ? search(bundles, [node], budget) : undefined;
    if (found) return found;
    refused.add(signatureOf(node, sight));
  }
  return undefined;
}

function pourAll(request: PlaceRequest, rooms: readonly NodeRoom[]): Placement | undefined {
  const kept = new Set(request.keptNodeIds);
  const placed: PlacedOn[] = [];
  // Twins take the same, so only the first of each kind is looked at.
  const sight = sightOf(request.bundles);
  const kinds = new Map<string, Kind>();
  for (const node of rooms) {
    const room = lookAt(node);
    const isKept = kept.has(node.nodeId);
    const key = `${isKept} ${signatureOf(node, sight)}`;
    const kind = kinds.get(key);
    if (kind) kind.twins.push(node);
    else kinds.set(key, { room, isKept, twins: [node] });
  }
  let rest = hardestFirst(request.bundles);
  while (rest.length > 0) {
    const best = mostTaken(rest, [...kinds.values()]);
    if (!best) return undefined;
    placed.push(...best.placed);
    rest = best.rest;
    best.kind.twins.shift();
  }
  return placed;
}

/** Nodes that are equal for placement, in order. */
interface Kind {
  /** What each of them has; never taken from. */
  readonly room: Room;
  readonly isKept: boolean;
  readonly twins: NodeRoom[];
}

interface Poured {
  placed: PlacedOn[];
  rest: BundleRequest[];
}

function mostTaken(bundles: readonly BundleRequest[], kinds: readonly Kind[]): (Poured & { kind: Kind }) | undefined {
  let best: { kind: Kind; rank: number[]; poured: Poured | undefined } | undefined;
  const wanted = sumUnits(bundles);
  const shapes = [...Map.groupBy(bundles, shapeOf).values()];
  // Of bundles that all ask for the same it is known how many fit; only the best node is poured into.
  const known = shapes.length === 1 && bundles[0]?.links !== "STRICT";
  const likely = kinds.flatMap((kind, at) => {
    const most = kind.twins.length === 0 ? 0 : atMost(shapes, kind.room);
    return most === 0 ? [] : [{ kind, at, most, away: kind.isKept ? 0 : 1 }];
  });
  likely.sort((a, b) => a.away - b.away || b.most - a.most || a.at - b.at);
  for (const { kind, at, most, away } of likely) {
    if (best && (away !== best.rank[0] || most < -best.rank[1]!)) break;
    const poured = known ? undefined : pour(bundles, new Room(kind.twins[0]!));
    if (poured?.placed.length === 0) continue;
    const taken = poured && new Set(poured.placed.map((one) => one.index));
    const there = taken ? bundles.filter((bundle) => taken.has(bundle.index)) : bundles.slice(0, most);
    const rank = [away, -there.length, wastesDevices(kind.room, wanted), emptiness(kind.room, sumUnits(there)), at];
    if (!best || lower(rank, best.rank)) best = { kind, rank, poured };
  }
  return best && { kind: best.kind, ...(best.poured ?? pour(bundles, new Room(best.kind.twins[0]!))) };
}

/** More bundles than this a room cannot take; `shapes` are those that ask for the same. */
function atMost(shapes: readonly (readonly BundleRequest[])[], room: Room): number {
  return shapes.reduce((sum, alike) => {
    return allows(room, alike[0]!) ? sum + Math.min(alike.length, room.times(alike[0]!)) : sum;
  }, 0);
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
