import type { NodeRow, PlacedBundle } from "@whipray/rpc";

/** A bundle that a worker may start in, where the cluster has put it. */
export interface PlacedSlot {
  /** Index of the group, and of the bundle in it. */
  readonly group: number;
  readonly bundle: number;
  readonly nodeId: string;
  /** Lowest index of its devices; Infinity without devices. */
  readonly firstDevice: number;
}

export function placedSlot(group: number, placed: PlacedBundle): PlacedSlot {
  return {
    group,
    bundle: placed.index,
    nodeId: placed.nodeId ?? "",
    firstDevice: Math.min(Number.POSITIVE_INFINITY, ...placed.devices.map((device) => device.index)),
  };
}

/**
 * Slots by (node, first device, group, bundle): consecutive ranks are neighbours (AReaL R2: rank order). Nodes go by address, then name,
 * so that the order is the same in every run.
 */
export function rankOrder(slots: readonly PlacedSlot[], nodes: readonly NodeRow[]): PlacedSlot[] {
  const ranked = [...nodes].sort(
    (left, right) =>
      compareText(left.ip, right.ip) || compareText(left.name, right.name) || compareText(left.nodeId, right.nodeId),
  );
  const rank = new Map(ranked.map((node, index) => [node.nodeId, index]));
  const at = (slot: PlacedSlot): number => rank.get(slot.nodeId) ?? ranked.length;
  return [...slots].sort(
    (left, right) =>
      at(left) - at(right) ||
      compareText(left.nodeId, right.nodeId) ||
      compareNumber(left.firstDevice, right.firstDevice) ||
      left.group - right.group ||
      left.bundle - right.bundle,
  );
}

/**
 * Which slot each worker gets. Workers with the same needs are interchangeable and take their slots in rank order; a worker
 * with needs of its own keeps the slot that was cut for it. `kinds[i]` names worker i's needs, `slots[i]` was cut for it.
 */
export function assignRanks(
  kinds: readonly string[],
  slots: readonly PlacedSlot[],
  nodes: readonly NodeRow[],
): PlacedSlot[] {
  const queues = new Map<string, PlacedSlot[]>();
  for (const [index, kind] of kinds.entries()) queues.set(kind, [...(queues.get(kind) ?? []), slots[index]!]);
  for (const [kind, queue] of queues) queues.set(kind, rankOrder(queue, nodes));
  return kinds.map((kind) => queues.get(kind)!.shift()!);
}

function compareNumber(left: number, right: number): number {
  return left === right ? 0 : left < right ? -1 : 1;
}

/** Numbers inside texts compare as numbers: 10.0.0.9 before 10.0.0.10. */
function compareText(left: string, right: string): number {
  return left.localeCompare(right, "en", { numeric: true });
}
