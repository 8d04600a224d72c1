import { matchesLabels, type ResourceUnits, showAmount, showLabels, type Units } from "@whipray/core";
import type { WaitReason } from "@whipray/rpc";
import { REASONS_LIMIT } from "../limits.ts";
import { pour } from "./pack.ts";
import { place } from "./place.ts";
import { allows, type BundleRequest, hardestFirst, type PlaceRequest, shapeOf, sumUnits } from "./request.ts";
import { lookAt, type NodeRoom, Room } from "./room.ts";
import type { Rooms } from "./room-index.ts";

type Kind = WaitReason["kind"];

/** As `explain`, from the rooms of a cluster: it looks at kinds of nodes, so its cost does not grow with them. */
export function whyNot(request: PlaceRequest, now: Rooms, total: Rooms): WaitReason[] {
  return explain(request, now.kinds(request), total.kinds(request), total.size);
}

/**
 * Why `request` has no place among `now`: one reason a bundle that is in the way, empty if and only if there is a place.
 * `infeasible`: not even an empty cluster (`total`, of `count` nodes) could hold the bundle; `strategy`: each bundle alone yes, but not as the
 * strategy wants them; `busy`: when others end. At most `REASONS_LIMIT` reasons.
 */
export function explain(
  request: PlaceRequest,
  now: readonly NodeRoom[],
  total: readonly NodeRoom[],
  count = total.length,
): WaitReason[] {
  if (place(request, now)) return [];
  const reasons = impossible(request, total) ?? againstStrategy(request, total, count) ?? busy(request, now);
  return reasons.slice(0, REASONS_LIMIT);
}

function impossible(request: PlaceRequest, total: readonly NodeRoom[]): WaitReason[] | undefined {
  const reasons: WaitReason[] = [];
  const closestOf = closestAmong(total);
  for (const bundle of request.bundles) {
    const closest = closestOf(bundle);
    if (closest && isNone(closest.missing)) continue;
    reasons.push(short(bundle, "infeasible", closest, "no node can ever hold it:"));
  }
  return reasons.length > 0 ? reasons : undefined;
}

function againstStrategy(request: PlaceRequest, total: readonly NodeRoom[], count: number): WaitReason[] | undefined {
  if (place(request, total)) return undefined;
  if (request.strategy === "STRICT_PACK") return together(request, "strategy", total, "STRICT_PACK wants one node:");
  const { rest, left } = unplaced(request, total);
  if (request.strategy === "STRICT_SPREAD") {
    const nodes = count - request.keptNodeIds.length;
    const text = `STRICT_SPREAD wants a node for each of ${request.bundles.length} bundles; ${Math.max(0, nodes)} other nodes are there or too few of them can hold one`;
    return rest.map((bundle) => reason(bundle.index, "strategy", text, {}));
  }
  const closestOf = closestAmong(left);
  return rest.map((bundle) =>
    short(bundle, "infeasible", closestOf(bundle), "beside the other bundles, even when empty,"),
  );
}

function busy(request: PlaceRequest, now: readonly NodeRoom[]): WaitReason[] {
  if (request.strategy === "STRICT_PACK") return together(request, "busy", now, "STRICT_PACK wants one node:");
  const { rest, left } = unplaced(request, now);
  const closestOf = closestAmong(left);
  return rest.map((bundle) => {
    const closest = closestOf(bundle);
    if (closest && !isNone(closest.missing)) return short(bundle, "busy", closest, "");
    if (!closest && now.length > left.length) {
      return reason(bundle.index, "busy", `${describe(bundle)}; every node with room for it holds another bundle`, {});
    }
    if (!closest) return short(bundle, "busy", undefined, "");
    return reason(bundle.index, "busy", `${describe(bundle)}; it fits alone, but not together with the others`, {});
  });
}

/**
 * Bundles that find no room after the others have taken theirs; never empty. `left` is what the rooms have then; under STRICT_SPREAD only nodes
 * without a bundle of the group.
 */
function unplaced(request: PlaceRequest, rooms: readonly NodeRoom[]): { rest: BundleRequest[]; left: NodeRoom[] } {
  const { rest, left } = trial(request, rooms);
  return { rest: rest.length > 0 ? rest : request.bundles.slice(0, 1), left };
}

function trial(request: PlaceRequest, nodes: readonly NodeRoom[]): { rest: BundleRequest[]; left: NodeRoom[] } {
  const strict = request.strategy === "STRICT_SPREAD";
  let rest = hardestFirst(request.bundles);
  const left: NodeRoom[] = [];
  for (const node of nodes) {
    if (strict && request.keptNodeIds.includes(node.nodeId)) continue;
    const first = rest.find((bundle) => allows(lookAt(node), bundle));
    if (!first) left.push(node);
    else if (strict) rest = rest.filter((bundle) => bundle !== first);
    else {
      const room = new Room(node);
      rest = pour(rest, room).rest;
      left.push(room.snapshot());
    }
  }
  return { rest, left };
}

function together(request: PlaceRequest, kind: Kind, rooms: readonly NodeRoom[], why: string): WaitReason[] {
  const kept = new Set(request.keptNodeIds);
  const allowed = kept.size === 0 ? rooms : rooms.filter((room) => kept.has(room.nodeId));
  const labels = Object.assign({}, ...request.bundles.map((bundle) => bundle.labels ?? {})) as Record<string, string>;
  const all: BundleRequest = { index: 0, units: sumUnits(request.bundles), labels };
  const closest = closestTo(all, allowed);
  return request.bundles.map((bundle) => ({ ...short(all, kind, closest, why), bundle: bundle.index }));
}

interface Closest {
  nodeId: string;
  missing: Record<string, Units>;
  room: Room;
}

/** `closestTo` these rooms, worked out once for bundles that ask for the same. */
function closestAmong(rooms: readonly NodeRoom[]): (bundle: BundleRequest) => Closest | undefined {
  const known = new Map<string, Closest | undefined>();
  return (bundle) => {
    const shape = shapeOf(bundle);
    if (!known.has(shape)) known.set(shape, closestTo(bundle, rooms));
    return known.get(shape);
  };
}

/** The node that lacks the smallest share of what the bundle asks; undefined when none has the labels. */
function closestTo(bundle: BundleRequest, rooms: readonly NodeRoom[]): Closest | undefined {
  let best: (Closest & { share: number }) | undefined;
  for (const node of rooms) {
    if (!matchesLabels(node.labels, bundle.labels)) continue;
    const room = lookAt(node);
    const missing = room.missing(bundle);
    const share = Object.keys(missing).reduce((sum, name) => sum + missing[name]! / bundle.units[name]!, 0);
    if (!best || share < best.share) best = { nodeId: node.nodeId, missing, room, share };
  }
  return best;
}

function short(bundle: BundleRequest, kind: Kind, closest: Closest | undefined, why: string): WaitReason {
  const start = `${describe(bundle)}; ${why}${why ? " " : ""}`;
  if (!closest) {
    const selector = bundle.labels && Object.keys(bundle.labels).length > 0 ? showLabels(bundle.labels) : undefined;
    return reason(
      bundle.index,
      kind,
      `${start}no usable node${selector ? ` has the labels ${selector}` : ""}`,
      bundle.units,
    );
  }
  const parts = Object.entries(closest.missing).map(
    ([name, units]) => `${showAmount(name, units)} short (${showAmount(name, closest.room.amount(name))} there)`,
  );
  const withheld = closest.room.withheld;
  const besides = withheld.length > 0 ? `; not offered there: ${withheld.join(", ")}` : "";
  const text = `${start}the closest node ${closest.nodeId} is ${parts.join(", ") || "too fragmented"}${besides}`;
  return { ...reason(bundle.index, kind, text, closest.missing), nodeId: closest.nodeId };
}

function describe(bundle: BundleRequest): string {
  const amounts = Object.entries(bundle.units).map(([name, units]) => showAmount(name, units));
  const strict = bundle.links === "STRICT" ? " with all devices in one link domain" : "";
  return `needs ${amounts.join(", ") || "nothing"}${strict}`;
}

function reason(bundle: number, kind: Kind, text: string, missing: ResourceUnits): WaitReason {
  return { bundle, kind, text: text.slice(0, 2_048), missing: { ...missing } };
}

function isNone(missing: ResourceUnits): boolean {
  for (const _ in missing) return false;
  return true;
}
