import { describe, expect, test } from "vitest";
import {
  ascend,
  builtinPlugins,
  type Device,
  type DevicePlugin,
  deviceVariables,
  fakeDevice,
  fakePlugin,
  nvidia,
  overriddenVariables,
  reservedVariables,
} from "../src/index.ts";

const gpu = (index: number, uuid = `GPU-aaaa000${index}`): Device => ({
  ...fakeDevice("GPU", "n", index),
  uuid,
  vendor: "nvidia",
});
const npu = (index: number): Device => ({ ...fakeDevice("NPU", "n", index), vendor: "ascend" });

describe("CUDA_VISIBLE_DEVICES of a process", () => {
  const visible = (granted: Device[], own?: string) =>
    nvidia.visibility({ granted, nodeEnvironment: { CUDA_VISIBLE_DEVICES: own } })["CUDA_VISIBLE_DEVICES"];

  test("areal 6.13: it equals the granted ids in rank order", () => {
    expect(visible([gpu(2), gpu(0)])).toBe("2,0");
  });

  test("it is set and empty for zero devices (ray 9: a 0-GPU actor must not see all GPUs)", () => {
    expect(nvidia.visibility({ granted: [], nodeEnvironment: {} })).toEqual({
      CUDA_VISIBLE_DEVICES: "",
      CUDA_DEVICE_ORDER: "PCI_BUS_ID",
    });
  });

  test("ray 4: devices are written as the node's own list writes them", () => {
    expect(visible([gpu(5), gpu(3)], "3,5")).toBe("5,3");
    expect(visible([gpu(1), gpu(0)], "GPU-aaaa0000,GPU-aaaa0001")).toBe("GPU-aaaa0001,GPU-aaaa0000");
    expect(visible([gpu(1)], "0,GPU-aaaa0001")).toBe("GPU-aaaa0001");
  });

  test("a MIG device is written by its UUID, also where its parent's index is listed", () => {
    const mig = gpu(1, "MIG-GPU-aaaa0001/5/0");
    expect(visible([mig], "1,MIG-GPU-aaaa0001/5/0")).toBe("MIG-GPU-aaaa0001/5/0");
    expect(visible([mig])).toBe("MIG-GPU-aaaa0001/5/0");
  });

  test("a device that two fractions share is written once", () => {
    expect(visible([gpu(1), gpu(1), gpu(0)])).toBe("1,0");
  });

  test("a granted device outside the node's list is an error, not a wrong device", () => {
    expect(() => visible([gpu(7)], "3,5")).toThrow(expect.objectContaining({ code: "DEVICE_NOT_VISIBLE" }));
  });
});

describe("ASCEND_RT_VISIBLE_DEVICES of a process", () => {
  const visible = (granted: Device[], own?: string) =>
    ascend.visibility({ granted, nodeEnvironment: { ASCEND_RT_VISIBLE_DEVICES: own } });

  test("it ascends as numbers, whatever the rank order and the node's order", () => {
    expect(visible([npu(10), npu(2)])).toEqual({ ASCEND_RT_VISIBLE_DEVICES: "2,10" });
    expect(visible([npu(1), npu(3)], "3,1")).toEqual({ ASCEND_RT_VISIBLE_DEVICES: "1,3" });
  });

  test("it is set and empty for zero devices", () => {
    expect(visible([])).toEqual({ ASCEND_RT_VISIBLE_DEVICES: "" });
  });
});

describe("NOSET flags", () => {
  const flags: [DevicePlugin, string][] = [
    [nvidia, "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"],
    [ascend, "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES"],
    [ascend, "RAY_EXPERIMENTAL_NOSET_NPU_VISIBLE_DEVICES"],
  ];

  test.each(flags)("%o: %s keeps us from writing, from the node's or the user's environment", (plugin, flag) => {
    const written = (nodeValue?: string, userValue?: string) =>
      Object.keys(
        plugin.visibility({
          granted: [],
          nodeEnvironment: { [flag]: nodeValue },
          ...(userValue !== undefined && { userEnvironment: { [flag]: userValue } }),
        }),
      ).length > 0;
    expect([written("1"), written("true"), written("True"), written(undefined, "1")]).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect([written("0"), written(""), written("false"), written("1", "0")]).toEqual([true, true, true, true]);
  });
});

describe.each(
  builtinPlugins.filter(({ visibilityVariable }) => visibilityVariable).map((one) => [one.vendor, one] as const),
)("%s", (vendor, plugin) => {
  const variable = plugin.visibilityVariable!;
  const device = { ...fakeDevice(plugin.resource, "n", 1), vendor };

  test("the variable is always written: empty for zero devices, the device's own form for one", () => {
    expect(plugin.visibility({ granted: [], nodeEnvironment: {} })[variable]).toBe("");
    const shown = plugin.visibility({ granted: [device], nodeEnvironment: {} });
    expect(shown[variable]).toBe(vendor === "furiosa" ? "npu:1" : "1");
    expect(plugin.reservedVariables).toEqual(expect.arrayContaining(Object.keys(shown)));
  });

  test("it is written as the node's own list writes it", () => {
    const nodeEnvironment = { [variable]: vendor === "furiosa" ? "npu:0,npu:1" : "0,1" };
    const shown = plugin.visibility({ granted: [device], nodeEnvironment });
    expect(shown[variable]).toBe(vendor === "furiosa" ? "npu:1" : "1");
  });

  test("its NOSET flags keep us from writing anything", () => {
    expect(plugin.nosetVariables).toContain(`RAY_EXPERIMENTAL_NOSET_${variable}`);
    for (const flag of plugin.nosetVariables) {
      expect(plugin.visibility({ granted: [device], nodeEnvironment: { [flag]: "1" } })).toEqual({});
    }
  });
});

describe("device variables of all plugins together", () => {
  test("each family shows what was granted and hides the rest", () => {
    const request = { granted: [npu(3), gpu(1), npu(0)], nodeEnvironment: {} };
    expect(deviceVariables([nvidia, ascend], request)).toEqual({
      CUDA_VISIBLE_DEVICES: "1",
      CUDA_DEVICE_ORDER: "PCI_BUS_ID",
      ASCEND_RT_VISIBLE_DEVICES: "0,3",
    });
    expect(deviceVariables(builtinPlugins, { granted: [], nodeEnvironment: {} })).toMatchObject({
      CUDA_VISIBLE_DEVICES: "",
      ASCEND_RT_VISIBLE_DEVICES: "",
    });
  });

  test("declared devices are shown as those of their resource", () => {
    const granted = [fakeDevice("GPU", "n", 2), fakeDevice("NPU", "n", 1)];
    expect(deviceVariables(builtinPlugins, { granted, nodeEnvironment: {} })).toMatchObject({
      CUDA_VISIBLE_DEVICES: "2",
      ASCEND_RT_VISIBLE_DEVICES: "1",
    });
    const fakes = [nvidia, ascend].map((like) => fakePlugin({ nodeName: "n", count: 4, like }));
    expect(deviceVariables(fakes, { granted, nodeEnvironment: {} })).toMatchObject({
      CUDA_VISIBLE_DEVICES: "2",
      ASCEND_RT_VISIBLE_DEVICES: "1",
    });
  });

  test("two vendors with one variable: nothing granted never blanks what was granted, both granted is an error", () => {
    const other: DevicePlugin = { ...nvidia, vendor: "other" };
    const theirs = { ...gpu(0), vendor: "other" };
    for (const plugins of [
      [nvidia, other],
      [other, nvidia],
    ]) {
      const shown = deviceVariables(plugins, { granted: [gpu(1)], nodeEnvironment: {} });
      expect(shown["CUDA_VISIBLE_DEVICES"]).toBe("1");
      expect(() => deviceVariables(plugins, { granted: [gpu(1), theirs], nodeEnvironment: {} })).toThrow(
        expect.objectContaining({ code: "DEVICE_VARIABLE_CONFLICT" }),
      );
    }
  });

  test("a NOSET flag of one vendor leaves a variable alone that another one shares", () => {
    const own = { HIP_VISIBLE_DEVICES: "1,0", RAY_EXPERIMENTAL_NOSET_ROCR_VISIBLE_DEVICES: "1" };
    const request = { granted: [], nodeEnvironment: {}, userEnvironment: own };
    const shown = deviceVariables(builtinPlugins, request);
    // Hygon's list is the same one.
    expect(shown["HIP_VISIBLE_DEVICES"]).toBeUndefined();
    expect(overriddenVariables(builtinPlugins, own, {}, shown)).toEqual([]);
    const dcu = { ...fakeDevice("GPU", "n", 0), vendor: "hygon" };
    const granted = deviceVariables(builtinPlugins, { ...request, granted: [dcu] });
    expect(granted["HIP_VISIBLE_DEVICES"]).toBe("0");
    expect(overriddenVariables(builtinPlugins, own, {}, granted)).toEqual(["HIP_VISIBLE_DEVICES"]);
  });

  test("B26: reserved names are known, and an attempt to override one is found", () => {
    expect(reservedVariables([nvidia, ascend])).toEqual([
      "CUDA_VISIBLE_DEVICES",
      "CUDA_DEVICE_ORDER",
      "ASCEND_RT_VISIBLE_DEVICES",
    ]);
    expect(new Set(reservedVariables(builtinPlugins)).size).toBe(reservedVariables(builtinPlugins).length);
    const shown = deviceVariables(builtinPlugins, { granted: [gpu(1)], nodeEnvironment: {} });
    const overridden = (user: Record<string, string>) => overriddenVariables(builtinPlugins, user, {}, shown);
    expect(overridden({ CUDA_VISIBLE_DEVICES: "0", FOO: "1" })).toEqual(["CUDA_VISIBLE_DEVICES"]);
    expect(overridden({ CUDA_VISIBLE_DEVICES: "1", CUDA_DEVICE_ORDER: "PCI_BUS_ID" })).toEqual([]);
    const noset = { CUDA_VISIBLE_DEVICES: "0", RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES: "1" };
    expect(overridden(noset)).toEqual([]);
  });
});
