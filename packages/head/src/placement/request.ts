import { DEVICE_RESOURCES, type LinkRule, matchesLabels, type ResourceUnits, type Units } from "@whipray/core";
import type { DeviceGrant, Strategy } from "@whipray/rpc";
import type { Room, Sight } from "./room.ts";

/** What somebody wants on one node. */
export interface Wanted {
  readonly units: ResourceUnits;
  /** How near its devices must be to each other. Default `ANY`. */
  readonly links?: LinkRule | undefined;
}

/** One bundle that looks for a place. */
export interface BundleRequest extends Wanted {
  readonly index: number;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

export interface PlaceRequest {
  readonly strategy: Strategy;
  readonly bundles: readonly BundleRequest[];
  /**
   * Nodes that hold the group's surviving bundles: STRICT_SPREAD avoids them, SPREAD avoids them if it can, STRICT_PACK must use
   * them, PACK tries them first (ray.md 2.5).
   */
  readonly keptNodeIds: readonly string[];
}

export interface PlacedOn {
  readonly index: number;
  readonly nodeId: string;
  readonly devices: readonly DeviceGrant[];
}
/** A whole placement, one entry a bundle. There is no partial one. */
export type Placement = readonly PlacedOn[];

/** Node → what is placed there. */
export function byNode(placement: Placement): Map<string, Placement[number][]> {
  const nodes = new Map<string, Placement[number][]>();
  for (const placed of placement) {
    const here = nodes.get(placed.nodeId);
    if (here) here.push(placed);
    else nodes.set(placed.nodeId, [placed]);
  }
  return nodes;
}

export function allows(room: Room, bundle: BundleRequest): boolean {
  return matchesLabels(room.labels, bundle.labels) && room.fits(bundle);
}

/** What these bundles see of a node: nodes that look the same to it serve them equally. Equal sights have equal keys. */
export function sightOf(bundles: readonly BundleRequest[]): Required<Sight> & { readonly key: string } {
  const names = new Set<string>();
  const labels = new Set<string>();
  for (const bundle of bundles) {
    for (const name in bundle.units) names.add(name);
    for (const key in bundle.labels) labels.add(key);
  }
  const sight = { names: [...names].sort(), labels: [...labels].sort() };
  return { ...sight, key: JSON.stringify(sight) };
}

const SHAPES = new WeakMap<BundleRequest, string>();

/** Equal text for bundles that ask for the same. */
export function shapeOf(bundle: BundleRequest): string {
  let shape = SHAPES.get(bundle);
  if (shape === undefined) {
    shape = JSON.stringify([Object.entries(bundle.units).sort(), bundle.labels, bundle.links]);
    SHAPES.set(bundle, shape);
  }
  return shape;
}

/** Hardest first: more devices, then custom resources, object_store_memory, memory, CPU (ray.md 2.3). Equal ones keep their order. */
export function hardestFirst(bundles: readonly BundleRequest[]): BundleRequest[] {
  const keyed = bundles.map((bundle) => ({ bundle, key: hardness(bundle.units) }));
  keyed.sort((a, b) => compare(b.key, a.key) || a.bundle.index - b.bundle.index);
  return keyed.map(({ bundle }) => bundle);
}

function hardness(units: ResourceUnits): Units[] {
  let devices = 0;
  let custom = 0;
  for (const name in units) {
    if (DEVICE_RESOURCES.has(name)) devices += units[name]!;
    else if (name !== "object_store_memory" && name !== "memory" && name !== "CPU") custom += units[name]!;
  }
  return [devices, custom, units["object_store_memory"] ?? 0, units["memory"] ?? 0, units["CPU"] ?? 0];
}

function compare(left: readonly Units[], right: readonly Units[]): number {
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return left[i]! - right[i]!;
  return 0;
}

/** How empty a node stays: Σ (available − requested) / available over the requested resources (ray.md 2.3). High is empty. */
export function emptiness(room: Room, units: ResourceUnits): number {
  let score = 0;
  for (const resource in units) {
    const available = room.amount(resource);
    if (available > 0) score += (available - units[resource]!) / available;
  }
  return score;
}

/** 1 when the node has devices that are not asked for: such nodes are kept for those who need them. */
export function wastesDevices(room: Room, units: ResourceUnits): 0 | 1 {
  if (!room.hasDevices) return 0;
  for (const resource in units) if (room.isDevice(resource)) return 0;
  return 1;
}

export function sumUnits(bundles: readonly BundleRequest[]): Record<string, Units> {
  const sum: Record<string, Units> = {};
  for (const { units } of bundles) for (const name in units) sum[name] = (sum[name] ?? 0) + units[name]!;
  return sum;
}

/** Whether the amounts alone allow all bundles here; false is certain, true is not. */
export function mayHold(room: Room, sum: ResourceUnits): boolean {
  for (const resource in sum) if (room.amount(resource) < sum[resource]!) return false;
  return true;
}
