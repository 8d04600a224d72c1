import { matchesLabels, UNITS_PER_ONE } from "@whipray/core";
import { SEARCH_BUNDLES_LIMIT, SEARCH_STEPS_LIMIT } from "../limits.ts";
import {
  type BundleRequest,
  hardestFirst,
  mayHold,
  type PlacedOn,
  type Placement,
  sightOf,
  sumUnits,
} from "./request.ts";
import { lookAt, type NodeRoom, Room } from "./room.ts";

/** Steps that one placement may still spend on searching. */
export class SearchBudget {
  left = SEARCH_STEPS_LIMIT;
}

/**
 * Exhaustive search for any placement, behind the greedy policies: bundles hardest first, every node and every choice of a
 * shared device, twins tried once. Bounded: `SEARCH_STEPS_LIMIT` looks at a node, groups
 * up to `SEARCH_BUNDLES_LIMIT`; beyond that "not found" does not mean "there is none".
 */
export function search(
  bundles: readonly BundleRequest[],
  nodes: readonly NodeRoom[],
  budget: SearchBudget,
): Placement | undefined {
  if (bundles.length > SEARCH_BUNDLES_LIMIT || !enough(bundles, nodes.map(lookAt))) return undefined;
  const rooms = nodes.map((node) => new Room(node));
  const ordered = linkedFirst(hardestFirst(bundles));
  const sight = sightOf(bundles);
  const placed: PlacedOn[] = [];

  function descend(at: number): boolean {
    const bundle = ordered[at];
    if (!bundle) return true;
    const tried = new Set<string>();
    for (const room of rooms) {
      if (--budget.left < 0) return false;
      if (!matchesLabels(room.labels, bundle.labels) || !room.fits(bundle)) continue;
      const signature = room.signature(sight);
      if (tried.has(signature)) continue;
      tried.add(signature);
      for (const devices of room.choices(bundle)) {
        room.grant(bundle.units, devices);
        placed.push({ index: bundle.index, nodeId: room.nodeId, devices });
        if (descend(at + 1)) return true;
        placed.pop();
        room.giveBack(bundle.units, devices);
      }
    }
    return false;
  }
  return descend(0) ? placed : undefined;
}

/** Several devices of one link domain before all others: which devices those get then makes no difference to what comes after them. */
function linkedFirst(bundles: readonly BundleRequest[]): BundleRequest[] {
  const isLinked = ({ links, units }: BundleRequest): boolean =>
    links === "STRICT" && Object.values(units).some((amount) => amount > UNITS_PER_ONE);
  return [...bundles.filter(isLinked), ...bundles.filter((bundle) => !isLinked(bundle))];
}

/** Whether order matters on one node: only fractions of devices, and devices of one link domain, can be packed badly. */
export function packsBadly(bundles: readonly BundleRequest[], room: Room): boolean {
  return bundles.some(({ units, links }) => {
    const badly = (name: string) => units[name]! < UNITS_PER_ONE || links === "STRICT";
    return Object.keys(units).some((name) => badly(name) && room.isDevice(name));
  });
}

function enough(bundles: readonly BundleRequest[], rooms: readonly Room[]): boolean {
  const sum = sumUnits(bundles);
  for (const resource in sum) {
    if (rooms.reduce((total, room) => total + room.amount(resource), 0) < sum[resource]!) return false;
  }
  return rooms.length > 1 || rooms.every((room) => mayHold(room, sum));
}
