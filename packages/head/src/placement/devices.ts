import { DEVICE_RESOURCES } from "@whipray/core";

/** Whether a resource is counted in single devices on a node: by its name (Ray's list), or because the node has such devices. */
export function isDeviceResource(resource: string, devices: readonly { readonly resource: string }[]): boolean {
  return DEVICE_RESOURCES.has(resource) || devices.some((device) => device.resource === resource);
}
