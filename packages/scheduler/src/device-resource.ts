import type { NodeRow } from "@whipray/rpc";

/** Resources that count as devices, in the order in which a cluster that has several is used (areal 6.23). */
const DEVICES = ["GPU", "NPU"] as const;
export type DeviceResource = (typeof DEVICES)[number] | "CPU";

/** What `gpu` of a spec means on this cluster: what its living nodes have, never what the driver's machine has (areal 6.23). */
export function deviceResource(nodes: readonly NodeRow[]): DeviceResource {
  const alive = nodes.filter((node) => node.state !== "DEAD");
  const has = (name: string): boolean =>
    alive.some((node) => node.devices.some((device) => device.resource === name) || (node.total[name] ?? 0) > 0);
  return DEVICES.find(has) ?? "CPU";
}
