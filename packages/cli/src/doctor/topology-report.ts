import { DeviceTopology, type LinkMatrix } from "@whipray/core";
import type { DeviceInfo } from "@whipray/rpc";
import type { TopologyReport } from "./doctor-report.ts";

/** Devices that one table shows. */
const SHOWN_LIMIT = 64;

/** The links of a node as a table; undefined when nothing is known of them. */
export function topologyReport(
  devices: readonly DeviceInfo[],
  links: LinkMatrix | undefined,
): TopologyReport | undefined {
  if (!links) return undefined;
  const topology = new DeviceTopology(devices, links);
  const shown = devices.slice(0, SHOWN_LIMIT);
  return {
    names: shown.map(({ resource, index }) => `${resource}${index}`),
    links: shown.map(({ uuid }) =>
      shown.map((other) => (other.uuid === uuid ? "-" : (topology.link(uuid, other.uuid)?.name ?? "?"))),
    ),
    numaNodes: shown.map(({ numaNode }) => numaNode),
    cpuAffinity: shown.map(({ cpuAffinity }) => cpuAffinity),
  };
}
