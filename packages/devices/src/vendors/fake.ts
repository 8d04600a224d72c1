import { type Device, type DeviceHealth, lockNameOf } from "../device.ts";
import type { DevicePlugin } from "../plugin.ts";
import { blankFingerprint } from "../probe-failure.ts";

/** Vendor of devices that exist because somebody said so. */
export const FAKE_VENDOR = "fake";

/** A device that nobody found. Node name and index make its identity, so it is the same after a restart. */
export function fakeDevice(resource: string, nodeName: string, index: number): Device {
  const uuid = `FAKE-${resource}-${nodeName}-${index}`;
  return {
    uuid,
    index,
    resource,
    vendor: FAKE_VENDOR,
    model: `declared ${resource}`,
    acceleratorType: "fake",
    health: "ok",
    lockName: lockNameOf(uuid),
  };
}

export interface FakePluginOptions {
  readonly nodeName: string;
  /** Devices on the machine. */
  readonly count: number;
  /** The plugin whose resource and variables the fake devices take; its tool is never asked. */
  readonly like: DevicePlugin;
  /** Health by index now; called at each look, so that a test can break a device. Default: all `ok`. */
  readonly health?: (index: number) => DeviceHealth;
}

/** A vendor for tests and demos: a machine with `count` devices, shown to processes as those of `like` are. */
export function fakePlugin({ nodeName, count, like, health = () => "ok" }: FakePluginOptions): DevicePlugin {
  const plugin: DevicePlugin = {
    ...like,
    vendor: FAKE_VENDOR,
    async fingerprint() {
      const devices = Array.from({ length: count }, (_, index) => ({
        ...fakeDevice(like.resource, nodeName, index),
        health: health(index),
      }));
      return { ...blankFingerprint(FAKE_VENDOR, FAKE_VENDOR, 0), state: count > 0 ? "ok" : "none", devices };
    },
    async stats(_probe, devices) {
      const stats = devices.map(({ uuid, index }) => ({ uuid, health: health(index), utilization: 0 }));
      return { state: "ok", stats, warnings: [], elapsedMs: 0 };
    },
    async processes() {
      return { state: "ok", processes: [], warnings: [], elapsedMs: 0 };
    },
  };
  return plugin;
}
