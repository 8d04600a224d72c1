import type { Units } from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import { matchesLabels } from "./labels.ts";
import { type Wanted, wastesDevices } from "./request.ts";
import { lookAt, type NodeRoom, Room } from "./room.ts";

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
  totalOf: (nodeId: string) => NodeRoom | undefined,
): { nodeId: string; devices: readonly DeviceGrant[] } | undefined {
  const fitting = now
    .filter((node) => !request.avoid?.has(node.nodeId) && matchesLabels(node.labels, request.labels))
    .map((node) => new Room(node))
    .filter((room) => room.fits(request));
  const near = fitting.find((room) => room.nodeId === request.nodeId);
  if (request.nodeId !== undefined && (near || !request.nodeSoft)) return near && taken(near, request);
  const ranked = fitting.map((room) => ({
    room,
    waste: wastesDevices(room, request.units),
    used: utilisation(room, totalOf(room.nodeId), request.units),
  }));
  ranked.sort((a, b) => a.waste - b.waste || score(a.used) - score(b.used));
  return ranked[0] && taken(ranked[0].room, request);
}

/** Nodes up to the threshold count as equally free. */
export function score(used: number): number {
  return used < SPREAD_THRESHOLD ? 0 : used;
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
  const devices = room.take(wanted);
  return devices && { nodeId: room.nodeId, devices };
}
