import { DeviceTopology, type LinkRule, type ResourceUnits } from "@whipray/core";
import type { Strategy } from "@whipray/rpc";
import type { BundleRequest, PlaceRequest } from "../src/placement/request.ts";
import type { DeviceRoom, NodeRoom } from "../src/placement/room.ts";

/** Units from amounts in tests: everything but memory counts in 1/10 000. */
export function units(amounts: Record<string, number>): ResourceUnits {
  return Object.fromEntries(
    Object.entries(amounts).map(([name, value]) => [name, name === "memory" ? value : Math.round(value * 10_000)]),
  );
}

/** A node with scalars and GPUs; each number of `gpus` is what is free of one device. */
export function node(
  nodeId: string,
  free: Record<string, number>,
  gpus: number[] = [],
  more: { labels?: Record<string, string>; linkDomain?: (index: number) => string; withheld?: string[] } = {},
): NodeRoom {
  const devices: DeviceRoom[] = gpus.map((share, index) => ({
    uuid: `${nodeId}-gpu-${index}`,
    index,
    resource: "GPU",
    units: Math.round(share * 10_000),
  }));
  const topology = new DeviceTopology(
    devices.map(({ uuid, index }) => ({ uuid, index, linkDomain: more.linkDomain?.(index) })),
  );
  return { nodeId, labels: more.labels ?? {}, free: units(free), devices, topology, withheld: more.withheld };
}

export function request(
  strategy: Strategy,
  bundles: Record<string, number>[],
  more: { kept?: string[]; labels?: Record<string, string>; links?: LinkRule } = {},
): PlaceRequest {
  const list: BundleRequest[] = bundles.map((amounts, index) => ({
    index,
    units: units(amounts),
    labels: more.labels,
    links: more.links,
  }));
  return { strategy, bundles: list, keptNodeIds: more.kept ?? [] };
}
