import { WhiprayError } from "@whipray/core";
import type { Device } from "./device.ts";
import type { DevicePlugin, VisibilityRequest } from "./plugin.ts";
import type { Environment } from "./probe.ts";
import { visibleListOf } from "./visible-list.ts";

/**
 * How each granted device is written for the process: as the node's own list writes it, else by `write`. A device that two
 * fractions share is written once, since vendors' runtimes refuse repeated entries.
 * @throws WhiprayError `DEVICE_NOT_VISIBLE` when the node's own list does not name a granted device.
 */
export function visibleEntries(
  plugin: DevicePlugin,
  { granted, nodeEnvironment }: VisibilityRequest,
  write: (device: Device) => string,
): string[] {
  const list = visibleListOf(plugin, nodeEnvironment);
  const entries = granted.map((device) => {
    if (list === undefined) return write(device);
    const entry = list.find((own) => own === device.uuid || plugin.names(own, device));
    if (entry !== undefined) return entry;
    const variable = plugin.visibilityVariable;
    throw new WhiprayError({
      code: "DEVICE_NOT_VISIBLE",
      message: `${device.uuid} was granted, but ${variable}="${list.join(",")}" of this node does not name it`,
      details: { device: device.uuid, variable, visible: list },
    });
  });
  return [...new Set(entries)];
}

/** Whether a NOSET flag keeps us from writing the plugin's variables. The user's value of a flag wins over the node's. */
export function isNoset(
  plugin: DevicePlugin,
  { nodeEnvironment, userEnvironment }: Omit<VisibilityRequest, "granted">,
) {
  return plugin.nosetVariables.some((name) => {
    const value = userEnvironment?.[name] ?? nodeEnvironment[name] ?? "";
    return value === "1" || value.toLowerCase() === "true";
  });
}

/**
 * The device variables of one process, all plugins together: what was granted, and nothing of what was not. A declared
 * device, which no plugin found, is shown by the first plugin of its resource.
 * @throws WhiprayError `DEVICE_VARIABLE_CONFLICT` when devices of two vendors need the same variable; and as `visibility`.
 */
export function deviceVariables(plugins: readonly DevicePlugin[], request: VisibilityRequest): Record<string, string> {
  const variables: Record<string, string> = {};
  const granting = new Map<string, DevicePlugin>();
  const grants = plugins.map((plugin) => request.granted.filter((device) => pluginFor(plugins, device) === plugin));
  for (const [at, plugin] of plugins.entries()) {
    if (grants[at]!.length === 0) continue;
    for (const [name, value] of Object.entries(plugin.visibility({ ...request, granted: grants[at]! }))) {
      const other = granting.get(name);
      if (other && variables[name] !== value) {
        throw new WhiprayError({
          code: "DEVICE_VARIABLE_CONFLICT",
          message: `devices of ${other.vendor} and ${plugin.vendor} cannot be granted to one process: both are shown by ${name}`,
          details: { variable: name, vendors: [other.vendor, plugin.vendor] },
        });
      }
      variables[name] = value;
      granting.set(name, plugin);
    }
  }
  const untouched = leftAlone(plugins, request);
  for (const [at, plugin] of plugins.entries()) {
    // What hides one vendor's devices below a shared variable would hide those of the vendor that was granted, too.
    if (grants[at]!.length > 0 || granting.has(plugin.visibilityVariable ?? "")) continue;
    for (const [name, value] of Object.entries(plugin.visibility({ ...request, granted: [] })))
      if (!untouched.has(name)) variables[name] ??= value;
  }
  return variables;
}

/** Variables of plugins whose NOSET flag is set: one that shares such a variable with them does not hide its devices there. */
function leftAlone(plugins: readonly DevicePlugin[], request: Omit<VisibilityRequest, "granted">): Set<string> {
  return new Set(plugins.filter((plugin) => isNoset(plugin, request)).flatMap((plugin) => plugin.reservedVariables));
}

function pluginFor(plugins: readonly DevicePlugin[], device: Device): DevicePlugin | undefined {
  return (
    plugins.find(({ vendor, resource }) => vendor === device.vendor && resource === device.resource) ??
    plugins.find(({ resource }) => resource === device.resource)
  );
}

/** Names that nobody may set for a process of ours, in the plugins' order. */
export function reservedVariables(plugins: readonly DevicePlugin[]): string[] {
  return [...new Set(plugins.flatMap((plugin) => plugin.reservedVariables))];
}

/**
 * Names in `userEnvironment` that would override a device variable: to be refused with `INVALID_ENV`. The value that the
 * process gets anyway is no override. A plugin whose NOSET flag is set refuses nothing.
 */
export function overriddenVariables(
  plugins: readonly DevicePlugin[],
  userEnvironment: Environment,
  nodeEnvironment: Environment,
  deviceEnvironment: Readonly<Record<string, string>>,
): string[] {
  const request = { nodeEnvironment, userEnvironment };
  const guarded = plugins.filter((plugin) => !isNoset(plugin, request));
  const untouched = leftAlone(plugins, request);
  return reservedVariables(guarded)
    .filter((name) => deviceEnvironment[name] !== undefined || !untouched.has(name))
    .filter((name) => userEnvironment[name] !== undefined && userEnvironment[name] !== deviceEnvironment[name]);
}
