import type { DeviceTopology } from "./device-topology.ts";
import { showAmount, UNITS_PER_ONE, type Units } from "./resources.ts";

/** Numbers as people write them: `0-3,6`. */
export function showIndices(indices: readonly number[]): string {
  const sorted = [...new Set(indices)].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let at = 0; at < sorted.length; ) {
    let end = at;
    while (sorted[end + 1] === sorted[end]! + 1) end++;
    parts.push(end === at ? `${sorted[at]}` : `${sorted[at]}-${sorted[end]}`);
    at = end + 1;
  }
  return parts.join(",");
}

/** How these devices reach each other: `NV18 mesh`, `PIX`, `NV12 to SYS`; undefined for fewer than two. */
export function showLinks(uuids: readonly string[], topology: DeviceTopology): string | undefined {
  if (uuids.length < 2) return undefined;
  const kinds = new Map<string, { score: number; fabric: boolean }>();
  for (const [at, uuid] of uuids.entries()) {
    for (const other of uuids.slice(at + 1)) {
      const link = topology.link(uuid, other);
      kinds.set(link?.name ?? "links not known", { score: link?.score ?? 0, fabric: link?.fabric ?? false });
    }
  }
  const [best, ...others] = [...kinds].sort(([, a], [, b]) => b.score - a.score);
  const worst = others.at(-1);
  if (worst) return `${best![0]} to ${worst[0]}`;
  return best![1].fabric && uuids.length > 2 ? `${best![0]} mesh` : best![0];
}

/** NUMA nodes of these devices; empty when none is known. */
export function numaNodesOf(uuids: readonly string[], topology: DeviceTopology): number[] {
  const nodes = uuids.map((uuid) => topology.device(uuid)?.numaNode).filter((node) => node !== undefined);
  return [...new Set(nodes)].sort((a, b) => a - b);
}

/** CPUs next to any of these devices, as Linux writes lists of them; undefined when none is known. */
export function cpusOf(uuids: readonly string[], topology: DeviceTopology): string | undefined {
  const lists = uuids.flatMap((uuid) => topology.device(uuid)?.cpuAffinity ?? []);
  const ranges = [...new Set(lists)]
    .flatMap((list) => list.split(",").flatMap(rangeOf))
    .sort((a, b) => a.from - b.from);
  const merged: { from: number; to: number }[] = [];
  for (const { from, to } of ranges) {
    const last = merged.at(-1);
    if (last && from <= last.to + 1) last.to = Math.max(last.to, to);
    else merged.push({ from, to });
  }
  return merged.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`)).join(",") || undefined;
}

/** Nothing for what is no range. */
function rangeOf(text: string): { from: number; to: number }[] {
  const [, from, to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  return from === undefined ? [] : [{ from: Number(from), to: Number(to) }];
}

export interface GrantedDevice {
  readonly uuid: string;
  readonly index: number;
  readonly resource: string;
  readonly units: Units;
}

/** A grant as people read it: `4 × GPU 0-3: NV18 mesh, NUMA 0`; `0.9 of GPU 3: NUMA 1`. Empty for no device. */
export function showDevices(granted: readonly GrantedDevice[], topology: DeviceTopology): string {
  const parts: string[] = [];
  for (const [resource, devices] of Map.groupBy(granted, (device) => device.resource)) {
    const uuids = devices.map((device) => device.uuid);
    const which = `${resource} ${showIndices(devices.map((device) => device.index))}`;
    const part = devices.length === 1 && devices[0]!.units < UNITS_PER_ONE;
    const amount = part ? showAmount("", devices[0]!.units).trim() : "";
    const head = part ? `${amount} of ${which}` : devices.length > 1 ? `${devices.length} × ${which}` : which;
    const numa = numaNodesOf(uuids, topology);
    const where = [showLinks(uuids, topology), numa.length > 0 ? `NUMA ${showIndices(numa)}` : undefined];
    const known = where.filter((text) => text !== undefined).join(", ");
    parts.push(known === "" ? head : `${head}: ${known}`);
  }
  return parts.join("; ");
}
