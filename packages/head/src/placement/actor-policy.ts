import type { DeviceGrant } from "@whipray/rpc";
import { matchesLabels } from "./labels.ts";
import { type Wanted, wastesDevices } from "./request.ts";
import { type NodeRoom, Room } from "./room.ts";

/** Utilisation up to which nodes count as equally free (Ray: `scheduler_spread_threshold`). */
export const SPREAD_THRESHOLD = 0.5;

export interface ActorRequest extends Wanted {
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Only this node, or with `nodeSoft` rather this node. */
  readonly nodeId?: string | undefined;
  readonly nodeSoft?: boolean | undefined;
  /** Nodes that refused just now. */
  readonly avoid?: ReadonlySet<string> | undefined;
}

/**
 * Ray's hybrid policy, made deterministic: nodes stay equal until their fullest resource is half used, so work packs onto the
 * first one; above that the least used wins. Requests without devices avoid nodes that have some (ray.md 1.4).
 */
export function placeActor(
  request: ActorRequest,
  now: readonly NodeRoom[],
  total: readonly NodeRoom[],
): { nodeId: string; devices: readonly DeviceGrant[] } | undefined {
  const fitting = now
    .filter((node) => !request.avoid?.has(node.nodeId) && matchesLabels(node.labels, request.labels))
    .map((node) => new Room(node))
    .filter((room) => room.fits(request));
  const near = fitting.find((room) => room.nodeId === request.nodeId);
  if (request.nodeId !== undefined && (near || !request.nodeSoft)) return near && taken(near, request);
  const totals = new Map(total.map((node) => [node.nodeId, node]));
  const ranked = fitting.map((room) => ({
    room,
    waste: wastesDevices(room, request.units),
    used: utilisation(room, totals.get(room.nodeId), request.units),
  }));
  ranked.sort((a, b) => a.waste - b.waste || score(a.used) - score(b.used));
  return ranked[0] && taken(ranked[0].room, request);
}

function score(used: number): number {
  return used < SPREAD_THRESHOLD ? 0 : used;
}

/** Used share of the fullest resource, the request included. */
function utilisation(room: Room, total: NodeRoom | undefined, units: Wanted["units"]): number {
  if (!total) return 1;
  const whole = new Room(total);
  const names = new Set([...Object.keys(total.free), ...total.devices.map((device) => device.resource)]);
  let most = 0;
  for (const name of names) {
    const all = whole.amount(name);
    if (all > 0) most = Math.max(most, (all - room.amount(name) + (units[name] ?? 0)) / all);
  }
  return most;
}

function taken(room: Room, wanted: Wanted): { nodeId: string; devices: readonly DeviceGrant[] } | undefined {
  const devices = room.take(wanted);
  return devices && { nodeId: room.nodeId, devices };
}
