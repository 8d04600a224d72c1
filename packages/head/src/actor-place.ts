import { type ResourceUnits, showAmount } from "@whipray/core";
import type { ActorSpec, DeviceGrant } from "@whipray/rpc";
import type { GroupRecord } from "./group-record.ts";
import type { GroupTable } from "./group-table.ts";
import { invalid } from "./names.ts";
import { showWithheld, WITHHELD_SHOWN } from "./node-record.ts";
import type { NodeTable } from "./node-table.ts";
import { placeActor } from "./placement/actor-policy.ts";
import { isDeviceResource } from "./placement/devices.ts";
import { explain, whyNot } from "./placement/explain.ts";
import { type NodeRoom, Room } from "./placement/room.ts";
import type { Rooms } from "./placement/room-index.ts";

/** What somebody has of a bundle. */
export interface BundleUse {
  readonly bundleIndex: number;
  readonly units: ResourceUnits;
  readonly devices: readonly DeviceGrant[];
}

export interface FoundPlace {
  nodeId: string;
  devices: readonly DeviceGrant[];
  bundleIndex?: number;
}

/** Where an actor may start now, or undefined. `uses` is what other actors have of its group's bundles; `turn` counts those that are spread. */
export function findPlace(
  spec: ActorSpec,
  nodes: NodeTable,
  groups: GroupTable,
  uses: readonly BundleUse[],
  avoid: ReadonlySet<string>,
  turn: number,
): FoundPlace | undefined {
  if (spec.pgId === undefined) {
    const { labels, fallback = [], nodeId, nodeSoft, links, placementUnits: units, spread } = spec;
    const rooms = groups.rooms(nodes);
    // Nodes that refused do not stand for their likes, and the wished one is looked at in any case.
    const keptNodeIds = [...avoid, ...(nodeId === undefined ? [] : [nodeId])];
    const wish = { units, links, nodeId, nodeSoft, avoid, turn: spread ? turn : undefined };
    // Ray: the next selector where no node that meets the one before has room.
    for (const selector of [labels, ...fallback]) {
      const bundle = { index: 0, units, links, labels: selector };
      // What is spread goes over all nodes, alike or not.
      const looked = spread ? rooms.all() : rooms.few({ bundles: [bundle], keptNodeIds }, true);
      const found = placeActor({ ...wish, labels: selector }, looked, (id) => nodes.total(id));
      if (found) return found;
    }
    return undefined;
  }
  const group = groups.record(spec.pgId);
  if (!group) return undefined;
  for (const index of bundlesFor(spec, group)) {
    const place = group.places[index];
    if (!place?.committed || nodes.state(place.nodeId) !== "ALIVE" || avoid.has(bundleKey(place.nodeId, index)))
      continue;
    const room = bundleRoom(group, index, nodes)!;
    for (const use of uses) if (use.bundleIndex === index) room.grant(use.units, use.devices);
    const devices = room.take({ units: spec.placementUnits, links: spec.links });
    if (devices) return { nodeId: place.nodeId, devices, bundleIndex: index };
  }
  return undefined;
}

/** Equal for actors that look for the same. */
export function likenessOf(spec: ActorSpec): string {
  const { placementUnits, links, labels, fallback, spread, nodeId, nodeSoft, pgId, bundleIndex } = spec;
  return JSON.stringify([placementUnits, links, labels, fallback, spread, nodeId, nodeSoft, pgId, bundleIndex]);
}

/** Devices of a bundle that cannot be had now, with reasons. */
function withheldOf(group: GroupRecord, index: number, nodes: NodeTable): string[] {
  const place = group.places[index];
  const withheld = place ? nodes.withheld(place.nodeId) : {};
  return (place?.devices ?? []).flatMap((device) => showWithheld(device, withheld) ?? []);
}

/** How a refusal of one bundle is remembered. */
export function bundleKey(nodeId: string, bundleIndex: number | undefined): string {
  return bundleIndex === undefined ? nodeId : `${nodeId}/${bundleIndex}`;
}

function bundlesFor(spec: ActorSpec, group: GroupRecord): number[] {
  return spec.bundleIndex === -1 ? [...group.bundles.keys()] : [spec.bundleIndex];
}

/** What there is of a bundle; a device that its node withholds now gives nothing. */
function bundleRoom(group: GroupRecord, index: number, nodes: NodeTable): Room | undefined {
  const place = group.places[index];
  if (!place) return undefined;
  const withheld = nodes.withheld(place.nodeId);
  const scalars = Object.entries(group.bundles[index]!).filter(([name]) => !isDeviceResource(name, place.devices));
  const devices = place.devices.map(({ uuid, index: at, resource, units }) => {
    return { uuid, index: at, resource, units: Object.hasOwn(withheld, uuid) ? 0 : units };
  });
  const topology = nodes.topology(place.nodeId);
  const room: NodeRoom = { nodeId: place.nodeId, labels: {}, free: Object.fromEntries(scalars), devices, topology };
  return new Room(room);
}

/**
 * Ray's check at submit: the index exists, and the request fits an empty bundle; it never spans two.
 * @throws WhiprayError `INVALID_ARGUMENT` naming the index or what does not fit.
 */
export function checkFitsGroup(spec: ActorSpec, group: Readonly<GroupRecord>): void {
  if (spec.bundleIndex >= group.bundles.length) {
    throw invalid(
      `placement group bundle index ${spec.bundleIndex} is invalid: ${group.pgId} has the bundles 0 to ${group.bundles.length - 1}`,
      { pgId: group.pgId, bundleIndex: spec.bundleIndex },
    );
  }
  const fits = bundlesFor(spec, group).some((index) => {
    const bundle = group.bundles[index]!;
    return Object.entries(spec.placementUnits).every(([name, units]) => (bundle[name] ?? 0) >= units);
  });
  if (fits) return;
  const asked = Object.entries(spec.placementUnits).map(([name, units]) => showAmount(name, units));
  const which = spec.bundleIndex === -1 ? "no bundle" : `not bundle ${spec.bundleIndex}`;
  throw invalid(`the actor needs ${asked.join(", ")}, which fits ${which} of ${group.pgId}, even when it is empty`, {
    pgId: group.pgId,
    bundleIndex: spec.bundleIndex,
  });
}

/** Why an actor that is to be placed is not, for people. */
export function explainActor(spec: ActorSpec, nodes: NodeTable, groups: GroupTable): string {
  if (spec.pgId !== undefined) {
    const group = groups.record(spec.pgId);
    if (!group) return `placement group ${spec.pgId} is not known (yet)`;
    const waiting = bundlesFor(spec, group).filter((index) => !group.places[index]?.committed);
    if (waiting.length > 0) return `placement group ${spec.pgId} is ${group.state}; bundle ${waiting[0]} has no place`;
    const withheld = bundlesFor(spec, group).flatMap((index) => withheldOf(group, index, nodes));
    const besides = withheld.length > 0 ? `; not offered there: ${withheld.slice(0, WITHHELD_SHOWN).join(", ")}` : "";
    return `every bundle of ${spec.pgId} that could hold it is in use, or its node is suspect${besides}`;
  }
  const bundles = [{ index: 0, units: spec.placementUnits, labels: spec.labels, links: spec.links }];
  const request = { strategy: "PACK" as const, bundles, keptNodeIds: [] };
  const [now, total] = [groups.rooms(nodes), nodes.totals()];
  const only = (rooms: Rooms) => [rooms.get(spec.nodeId!)].filter((room) => room !== undefined);
  const must = spec.nodeId !== undefined && !spec.nodeSoft;
  const [reason] = must ? explain(request, only(now), only(total)) : whyNot(request, now, total);
  return reason ? `${reason.kind}: ${reason.text}` : "a raylet is being asked, or its turn comes with the next round";
}

/** Whether a hard node affinity can never be met: the node is gone, or too small even when empty. */
export function affinityLost(spec: ActorSpec, nodes: NodeTable): string | undefined {
  if (spec.pgId !== undefined || spec.nodeId === undefined || spec.nodeSoft) return undefined;
  const state = nodes.state(spec.nodeId);
  if (state === "DEAD" || state === "UNKNOWN")
    return `node ${spec.nodeId}, which it must run on, is ${state.toLowerCase()}`;
  const total = nodes.total(spec.nodeId);
  if (total && new Room(total).fits({ units: spec.placementUnits, links: spec.links })) return undefined;
  return `node ${spec.nodeId}, which it must run on, is too small even when it is empty`;
}
