import { type ResourceUnits, UNITS_PER_ONE } from "@whipray/core";
import type { DeviceInfo } from "@whipray/rpc";

/** Everything that a node has, devices counted by resource, in units. */
export function nodeTotals(scalars: ResourceUnits, devices: readonly DeviceInfo[]): Record<string, number> {
  const total: Record<string, number> = { ...scalars };
  for (const { resource } of devices) total[resource] = (total[resource] ?? 0) + UNITS_PER_ONE;
  return total;
}
