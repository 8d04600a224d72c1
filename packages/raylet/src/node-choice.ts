import {
  byHybrid,
  covers,
  DEVICE_RESOURCES,
  matchesLabels,
  type ResourceUnits,
  showAmount,
  showLabels,
  UNITS_PER_ONE,
} from "@whipray/core";
import type { NodeRoomRow, TaskLeaseAsk } from "@whipray/rpc";

/** A node as a task may see it: our own as the ledger has it, others as the head last told. */
export type NodeSpace = Pick<NodeRoomRow, "nodeId" | "labels" | "total" | "free" | "devices">;

/** What a request for a worker asks of its node. */
export type NodeWish = Pick<TaskLeaseAsk, "units" | "labels" | "fallback" | "nodeId" | "nodeSoft" | "spread">;

/**
 * Where a request goes. `here`: it is granted, or waits, on our own node. `there`: to another node, which has room now, or with `wait` is the
 * only kind that can ever hold it. `nowhere`: no node that is known can ever hold it.
 */
export type NodeChoice =
  | { readonly go: "here" }
  | { readonly go: "there"; readonly nodeId: string; readonly wait: boolean }
  | { readonly go: "nowhere"; readonly why: string };

/**
 * Chooses a node for a task (ray.md 1.4): hybrid by default, which prefers ours until its fullest resource is half used; `turn` counts
 * requests that are to be spread. The first selector that a node with room meets counts, else the first that any node meets. Pure.
 */
export function chooseNode(wish: NodeWish, own: NodeSpace, others: readonly NodeSpace[], turn: number): NodeChoice {
  const all = [own, ...others];
  const wanted = all.find(({ nodeId }) => nodeId === wish.nodeId);
  if (wish.nodeId !== undefined) {
    if (wanted && canEverHold(wanted, wish.units)) return goTo(wanted, own, true);
    if (!wish.nodeSoft) return { go: "nowhere", why: lost(wish, wanted) };
  }
  const selectors = [wish.labels, ...(wish.fallback ?? [])];
  const able = selectors.map((labels) => {
    return all.filter((node) => matchesLabels(node.labels, labels) && canEverHold(node, wish.units));
  });
  for (const nodes of able) {
    const free = nodes.filter((node) => hasRoom(node, wish.units));
    const chosen = wish.spread ? free[turn % free.length] : best(free, wish.units);
    if (chosen) return goTo(chosen, own, false);
  }
  const possible = able.find((nodes) => nodes.length > 0);
  if (!possible) return { go: "nowhere", why: infeasible(wish, all) };
  return goTo(possible.includes(own) ? own : best(possible, wish.units)!, own, true);
}

function goTo(node: NodeSpace, own: NodeSpace, wait: boolean): NodeChoice {
  return node === own ? { go: "here" } : { go: "there", nodeId: node.nodeId, wait };
}

/** Ours is the first in the list, and so wins among equals. */
function best(nodes: readonly NodeSpace[], units: ResourceUnits): NodeSpace | undefined {
  const ranked = nodes.map((node) => ({ node, wastes: wastes(node, units), used: usedShare(node, units) }));
  return ranked.sort(byHybrid)[0]?.node;
}

/** Whether it could when nothing else ran there. */
export function canEverHold({ total }: NodeSpace, units: ResourceUnits): boolean {
  return covers(total, units);
}

/** Whether it can now. A fraction needs one device that has it, a whole one a device that nobody shares. */
export function hasRoom(node: NodeSpace, units: ResourceUnits): boolean {
  return Object.entries(units).every(([name, need]) => {
    if (!isDevice(node, name)) return (node.free[name] ?? 0) >= need;
    const mine = node.devices.filter(({ resource }) => resource === name);
    if (need < UNITS_PER_ONE) return mine.some(({ units: free }) => free >= need);
    return mine.filter(({ units: free }) => free === UNITS_PER_ONE).length >= need / UNITS_PER_ONE;
  });
}

function isDevice(node: NodeSpace, name: string): boolean {
  return DEVICE_RESOURCES.has(name) || node.devices.some(({ resource }) => resource === name);
}

function freeOf(node: NodeSpace, name: string): number {
  if (!isDevice(node, name)) return node.free[name] ?? 0;
  return node.devices.reduce((sum, { resource, units }) => (resource === name ? sum + units : sum), 0);
}

function wastes({ total }: NodeSpace, units: ResourceUnits): boolean {
  const devices = Object.keys(total).filter((name) => DEVICE_RESOURCES.has(name));
  return devices.length > 0 && !devices.some((name) => (units[name] ?? 0) > 0);
}

/** Used share of its fullest resource, with these units taken. */
function usedShare(node: NodeSpace, units: ResourceUnits): number {
  const shares = Object.entries(node.total).map(([name, all]) => (all - freeOf(node, name) + (units[name] ?? 0)) / all);
  return Math.max(0, ...shares.filter((share) => Number.isFinite(share)));
}

/** The same node with these units taken, as far as they can be: what was sent there shows only later. */
export function spaceWithout(node: NodeSpace, units: ResourceUnits): NodeSpace {
  const free = { ...node.free };
  const devices = node.devices.map((device) => ({ ...device }));
  for (const [name, need] of Object.entries(units)) {
    if (!isDevice(node, name)) free[name] = Math.max(0, (free[name] ?? 0) - need);
    let left = need;
    for (const device of devices) {
      if (device.resource !== name || left === 0 || device.units < Math.min(left, UNITS_PER_ONE)) continue;
      const share = Math.min(left, device.units);
      device.units -= share;
      left -= share;
    }
  }
  return { ...node, free, devices };
}

/** The same node when nothing runs there. */
export function emptied(node: NodeSpace): NodeSpace {
  const devices = Object.entries(node.total).flatMap(([resource, units]) => {
    return isDevice(node, resource) ? Array.from({ length: units / UNITS_PER_ONE }, () => whole(resource)) : [];
  });
  return { ...node, free: { ...node.total }, devices };
}

function whole(resource: string): NodeSpace["devices"][number] {
  return { resource, units: UNITS_PER_ONE };
}

function lost({ nodeId }: NodeWish, found: NodeSpace | undefined): string {
  const why = found ? "is too small even when it is empty" : "is not alive";
  return `infeasible: node ${nodeId}, which it must run on, ${why}`;
}

function infeasible({ labels, fallback = [], units }: NodeWish, all: readonly NodeSpace[]): string {
  const selectors = [...(labels ? [labels] : []), ...fallback];
  const met = all.filter((node) => selectors.length === 0 || selectors.some((one) => matchesLabels(node.labels, one)));
  if (met.length === 0) return `infeasible: no node has the labels ${selectors.map(showLabels).join(", or ")}`;
  const short = Object.entries(units).flatMap(([name, need]) => {
    const most = Math.max(...met.map(({ total }) => total[name] ?? 0));
    return most < need ? `${showAmount(name, need)} wanted, the largest node has ${showAmount(name, most)}` : [];
  });
  return `infeasible: ${short.join("; ") || "no node has all of it together, even when it is empty"}`;
}
