import { DEVICE_RESOURCES, UNITS_PER_ONE, type Units } from "@whipray/core";
import type { DeviceRoom } from "./room.ts";

/** Whether a resource is counted in single devices on a node: by its name (Ray's list), or because the node has such devices. */
export function isDeviceResource(resource: string, devices: readonly { readonly resource: string }[]): boolean {
  return DEVICE_RESOURCES.has(resource) || devices.some((device) => device.resource === resource);
}

/**
 * Whole devices for `need` units (design.md, mechanism 4): all of one link domain if one has enough, the fullest such domain so
 * that larger ones stay whole; else of one NUMA node likewise; else anywhere. Lowest index first. The caller knows that it fits.
 */
export function chooseWhole(devices: readonly DeviceRoom[], need: Units): DeviceRoom[] {
  const wanted = need / UNITS_PER_ONE;
  const whole = devices.filter((device) => device.units === UNITS_PER_ONE).sort((a, b) => a.index - b.index);
  const together =
    smallestThatHolds(whole, wanted, (device) => device.linkDomain) ??
    smallestThatHolds(whole, wanted, (device) => device.numaNode?.toString());
  return (together ?? whole).slice(0, wanted);
}

function smallestThatHolds(
  devices: readonly DeviceRoom[],
  wanted: number,
  domainOf: (device: DeviceRoom) => string | undefined,
): DeviceRoom[] | undefined {
  const domains = new Map<string, DeviceRoom[]>();
  for (const device of devices) {
    const domain = domainOf(device);
    if (domain === undefined) continue;
    const members = domains.get(domain);
    if (members) members.push(device);
    else domains.set(domain, [device]);
  }
  let best: DeviceRoom[] | undefined;
  for (const members of domains.values()) {
    if (members.length < wanted) continue;
    if (!best || members.length < best.length) best = members;
  }
  return best;
}
