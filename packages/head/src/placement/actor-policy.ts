import { byHybrid, matchesLabels } from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import { type Wanted, wastesDevices } from "./request.ts";
import { type NodeRoom, Room } from "./room.ts";

export interface ActorRequest extends Wanted {
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Selectors that are tried in their order where no node that meets `labels` has room (Ray: fallback_strategy). */
  readonly fallback?: readonly Readonly<Record<string, string>>[] | undefined;
  /** Only this node, or with `nodeSoft` rather this node. */
  readonly nodeId?: string | undefined;
  readonly nodeSoft?: boolean | undefined;
  /** Round robin over the nodes that have room, from this one on (Ray: SPREAD); absent: hybrid. */
  readonly turn?: number | undefined;
  /** Nodes that refused just now. */
  readonly avoid?: ReadonlySet<string> | undefined;
}

/** A node with room for the actor: of the first selector that has any, by hybrid policy or in turn. */
export function placeActor(
  request: ActorRequest,
  now: readonly NodeRoom[],
  total: readonly NodeRoom[],
): { nodeId: string; devices: readonly DeviceGrant[] } | undefined {
  for (const labels of [request.labels, ...(request.fallback ?? [])]) {
    const found = placeWith(labels, request, now, total);
    if (found) return found;
  }
  return undefined;
}

function placeWith(
  labels: ActorRequest["labels"],
  request: ActorRequest,
  now: readonly NodeRoom[],
  total: readonly NodeRoom[],
): { nodeId: string; devices: readonly DeviceGrant[] } | undefined {
  const fitting = now
    .filter((node) => !request.avoid?.has(node.nodeId) && matchesLabels(node.labels, labels))
    .map((node) => new Room(node))
    .filter((room) => room.fits(request));
  const near = fitting.find((room) => room.nodeId === request.nodeId);
  if (request.nodeId !== undefined && (near || !request.nodeSoft)) return near && taken(near, request);
  const next = request.turn === undefined ? undefined : fitting[request.turn % fitting.length];
  if (next) return taken(next, request);
  const totals = new Map(total.map((node) => [node.nodeId, node]));
  const ranked = fitting.map((room) => ({
    room,
    wastes: wastesDevices(room, request.units) === 1,
    used: utilisation(room, totals.get(room.nodeId), request.units),
  }));
  ranked.sort(byHybrid);
  return ranked[0] && taken(ranked[0].room, request);
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
