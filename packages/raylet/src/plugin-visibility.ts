import {
  type Device,
  type DevicePlugin,
  deviceVariables,
  type Environment,
  isNoset,
  overriddenVariables,
  reservedVariables,
} from "@whipray/devices";
import type { DeviceGrant } from "@whipray/rpc";
import type { DeviceVisibility, Variables } from "./engine-environment.ts";

/** What the device plugins of this node write: in the order of the grants (areal 6.13), and what two fractions of one process share once. */
export function pluginVisibility(
  plugins: readonly DevicePlugin[],
  devices: readonly Device[],
  nodeEnvironment: Environment,
): DeviceVisibility {
  return {
    variables(granted: readonly DeviceGrant[], userEnvironment: Variables) {
      const uuids = [...new Set(granted.map((grant) => grant.uuid))];
      const shown = uuids.flatMap((uuid) => devices.find((device) => device.uuid === uuid) ?? []);
      return deviceVariables(plugins, { granted: shown, offered: devices, nodeEnvironment, userEnvironment });
    },
    overridden: (userEnv, variables) => overriddenVariables(plugins, userEnv, nodeEnvironment, variables),
    reserved: () => reservedVariables(plugins),
    untouched(userEnvironment) {
      const left = plugins.filter((plugin) => isNoset(plugin, { nodeEnvironment, userEnvironment }));
      return [...new Set(left.map(({ resource }) => resource))];
    },
  };
}
