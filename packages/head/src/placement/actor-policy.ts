import { byHybrid, matchesLabels, type Units } from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import { type Wanted, wastesDevices } from "./request.ts";
import { lookAt, type NodeRoom, Room } from "./room.ts";

export interface ActorRequest extends Wanted {
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Only this node, or with `nodeSoft` rather this node. */
  readonly nodeId?: string | undefined;
  readonly nodeSoft?: boolean | undefined;
  /** Round robin over the nodes that have room, from this one on (Ray: SPREAD); absent: hybrid. */
  readonly turn?: number | undefined;
  /** Nodes that refused just now. */
  readonly avoid?: ReadonlySet<string> | undefined;
}

/** A node with room for the actor, by hybrid policy or in turn. */
export function placeActor(
  request: ActorRequest,
  now: readonly NodeRoom[],
  totalOf: (nodeId: string) => NodeRoom | undefined,
): { nodeId: string; devices: readonly DeviceGrant[] } | undefined {
  const fitting = now
    .filter((node) => !request.avoid?.has(node.nodeId) && matchesLabels(node.labels, request.labels))
    .map(lookAt)
    .filter((room) => room.fits(request));
  const near = fitting.find((room) => room.nodeId === request.nodeId);
  if (request.nodeId !== undefined && (near || !request.nodeSoft)) return near && taken(near, request);
  const next = request.turn === undefined ? undefined : fitting[request.turn % fitting.length];
  if (next) return taken(next, request);
  const ranked = fitting.map((room) => ({
    room,
    wastes: wastesDevices(room, request.units) === 1,
    used: utilisation(room, totalOf(room.nodeId), request.units),
  }));
  ranked.sort(byHybrid);
  return ranked[0] && taken(ranked[0].room, request);
}

/** Used share of the fullest resource that is not asked for. */
export function usedBeside(room: Room, total: Room, asked: readonly string[]): number {
  let most = 0;
  for (const name of total.names()) if (!asked.includes(name)) most = Math.max(most, usedShare(name, room, total, 0));
  return most;
}

/** Used share of the fullest resource, the request included. */
function utilisation(room: Room, total: NodeRoom | undefined, units: Wanted["units"]): number {
  if (!total) return 1;
  const whole = lookAt(total);
  let most = 0;
  for (const name of whole.names()) most = Math.max(most, usedShare(name, room, whole, units[name] ?? 0));
  return most;
}

function usedShare(name: string, room: Room, total: Room, asked: Units): number {
  const all = total.amount(name);
  return all > 0 ? (all - room.amount(name) + asked) / all : 0;
}

function taken(room: Room, wanted: Wanted): { nodeId: string; devices: readonly DeviceGrant[] } | undefined {
  const devices = new Room(room.snapshot()).take(wanted);
  return devices && { nodeId: room.nodeId, devices };
}
