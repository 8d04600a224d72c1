import { describe, expect, test } from "vitest";
import { builtinPlugins, detectDevices, deviceVariables, type MemoryMachine, memoryProbe } from "../src/index.ts";
import { amd, amdAcceleratorType } from "../src/vendors/amd.ts";
import { hygon } from "../src/vendors/hygon.ts";
import { fixture } from "./fixture.ts";

const rocm: MemoryMachine = {
  machine: "rocm-host",
  folders: { "/dev": ["kfd"] },
  tools: { "rocm-smi": fixture("rocm-smi-mi210x2.json") },
};
const sysfs: MemoryMachine = {
  folders: {
    "/dev": ["kfd"],
    "/sys/class/drm": ["card0", "card1", "card1-DP-1", "renderD128"],
    "/sys/bus/pci/devices/0000:0c:00.0/hwmon": [{ name: "hwmon5", kind: "directory" }],
  },
  files: {
    "/sys/class/drm/card0/device/vendor": "0x1002\n",
    "/sys/class/drm/card0/device/uevent": "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:0c:00.0\n",
    "/sys/class/drm/card1/device/vendor": "0x1a03\n",
    "/sys/bus/pci/devices/0000:0c:00.0/mem_info_vram_total": "206141652992\n",
    "/sys/bus/pci/devices/0000:0c:00.0/mem_info_vram_used": "286000000\n",
    "/sys/bus/pci/devices/0000:0c:00.0/gpu_busy_percent": "12\n",
    "/sys/bus/pci/devices/0000:0c:00.0/hwmon/hwmon5/temp1_input": "43000\n",
    "/sys/bus/pci/devices/0000:0c:00.0/hwmon/hwmon5/power1_average": "121000000\n",
    "/sys/bus/pci/devices/0000:0c:00.0/numa_node": "1\n",
  },
};

test("GPUs by rocm-smi: identity by place on the bus, texts read as numbers, links, also behind a warning", async () => {
  const found = await amd.fingerprint(memoryProbe(rocm));
  expect(found).toMatchObject({ state: "ok", version: "6.10.5", warnings: [] });
  expect(found.devices[0]).toEqual({
    uuid: "AMD-0000:c9:00.0@rocm-host",
    index: 0,
    resource: "GPU",
    vendor: "amd",
    model: "Aldebaran/MI200 [Instinct MI210]",
    acceleratorType: "AMD-Instinct-MI210",
    memoryBytes: 68_702_699_520,
    pciAddress: "0000:c9:00.0",
    numaNode: 1,
    health: "ok",
    lockName: "AMD-0000_3a_c9_3a_00_2e_0",
  });
  expect(found.links).toEqual([{ from: "AMD-0000:c9:00.0@rocm-host", to: "AMD-0000:cc:00.0@rocm-host", kind: "XGMI" }]);
  const { stats } = await amd.stats(memoryProbe(rocm), found.devices);
  expect(stats[0]).toMatchObject({ utilization: 0.64, temperatureC: 43, powerW: 41 });
  expect(stats[1]).not.toHaveProperty("powerW");
});

test("F36: cards that are numbered otherwise after a reboot keep their identity and their lock", async () => {
  const text = fixture("rocm-smi-mi210x2.json");
  const swapped = text.replace('"card0"', '"card2"').replace('"card1"', '"card0"').replace('"card2"', '"card1"');
  const looks = [text, swapped].map((story) => amd.fingerprint(memoryProbe({ ...rocm, tools: { "rocm-smi": story } })));
  const [before, after] = (await Promise.all(looks)).map(({ devices }) => devices);
  expect(after!.map(({ uuid, lockName }) => [uuid, lockName])).toEqual(
    before!.map(({ uuid, lockName }) => [uuid, lockName]).reverse(),
  );
  const listed = await detectDevices({
    plugins: [amd],
    probe: memoryProbe({ ...rocm, tools: { "rocm-smi": swapped } }),
    environment: {},
    nodeName: "n",
  });
  expect(listed.devices.map(({ index, pciAddress }) => [index, pciAddress])).toEqual([
    [0, "0000:cc:00.0"],
    [1, "0000:c9:00.0"],
  ]);
});

test("without rocm-smi amd-smi is asked, and sysfs has the memory", async () => {
  const found = await amd.fingerprint(
    memoryProbe({
      ...sysfs,
      tools: {
        "amd-smi": ([word]) =>
          fixture(word === "list" ? "amd-smi-list-2xMI300X.txt" : "amd-smi-topology-2xMI300X.json"),
      },
    }),
  );
  expect(found.devices).toMatchObject([
    { pciAddress: "0000:0c:00.0", memoryBytes: 206_141_652_992, numaNode: 1 },
    { pciAddress: "0000:22:00.0" },
  ]);
  expect(found.links).toMatchObject([{ kind: "XGMI" }]);
});

test("without any tool sysfs shows the cards, and other makers' are left out", async () => {
  const found = await amd.fingerprint(memoryProbe(sysfs));
  expect(found.devices).toMatchObject([{ index: 0, health: "unknown", memoryBytes: 206_141_652_992 }]);
  expect(found.warnings.join()).toContain("neither rocm-smi nor amd-smi");
  const { stats } = await amd.stats(memoryProbe(sysfs), found.devices);
  expect(stats).toMatchObject([{ utilization: 0.12, memoryUsedBytes: 286_000_000, temperatureC: 43, powerW: 121 }]);
});

test("without /dev/kfd there is none and no tool is run; a failed tool means unknown", async () => {
  const probe = memoryProbe({ ...rocm, folders: { "/dev": ["null"] } });
  expect((await amd.fingerprint(probe)).state).toBe("none");
  expect(probe.calls).toEqual([]);
  for (const story of [{ end: "timeout" as const }, { exitCode: 1 }, "no JSON", '{"card0": ']) {
    const broken = memoryProbe({ ...rocm, tools: { "rocm-smi": story } });
    expect(await amd.fingerprint(broken)).toMatchObject({ state: "unknown", devices: [] });
  }
});

test("processes come from the driver's sysfs, by the place of the GPU", async () => {
  const kfd = "/sys/class/kfd/kfd";
  const probe = memoryProbe({
    ...rocm,
    folders: {
      "/dev": ["kfd"],
      [`${kfd}/topology/nodes`]: ["0", "1", "2"],
      [`${kfd}/proc`]: ["4711", "4712", "x"],
      [`${kfd}/proc/4711`]: ["vram_5001", "vram_5002", "pasid"],
      [`${kfd}/proc/4712`]: ["vram_5001"],
    },
    files: {
      [`${kfd}/topology/nodes/0/gpu_id`]: "0\n",
      [`${kfd}/topology/nodes/1/gpu_id`]: "5001\n",
      [`${kfd}/topology/nodes/1/properties`]: `simd_count 416\nlocation_id ${0xc9 << 8}\ndomain 0\n`,
      [`${kfd}/topology/nodes/2/gpu_id`]: "5002\n",
      [`${kfd}/topology/nodes/2/properties`]: `location_id ${0xcc << 8}\ndomain 0\n`,
      [`${kfd}/proc/4711/vram_5001`]: "0\n",
      [`${kfd}/proc/4711/vram_5002`]: "9000000\n",
      [`${kfd}/proc/4712/vram_5001`]: "garbage\n",
      "/proc/4711/comm": "python3\n",
    },
  });
  const { devices } = await amd.fingerprint(probe);
  expect(await amd.processes(probe, devices)).toMatchObject({
    state: "ok",
    processes: [{ uuid: devices[1]!.uuid, pid: 4_711, name: "python3", memoryUsedBytes: 9_000_000 }],
  });
});

describe("the node's own variables", () => {
  const detect = (environment: Record<string, string>, machine = rocm) =>
    detectDevices({ plugins: builtinPlugins, probe: memoryProbe(machine), environment, nodeName: "n" });

  test("HIP_VISIBLE_DEVICES chooses and orders", async () => {
    const { devices } = await detect({ HIP_VISIBLE_DEVICES: "1,0" });
    expect(devices.map(({ index }) => index)).toEqual([1, 0]);
  });

  test("ray 5: ROCR_VISIBLE_DEVICES alone is refused where AMD GPUs are, and only there", async () => {
    const refused = { code: "INVALID_VISIBLE_DEVICES", details: { variable: "ROCR_VISIBLE_DEVICES", value: "1" } };
    await expect(detect({ ROCR_VISIBLE_DEVICES: "1" })).rejects.toMatchObject(refused);
    expect((await detect({ ROCR_VISIBLE_DEVICES: "1", HIP_VISIBLE_DEVICES: "0" })).counts).toEqual({ GPU: 1 });
    expect((await detect({ ROCR_VISIBLE_DEVICES: "1" }, {})).counts).toEqual({});
  });
});

test("a process without GPUs sees none on either layer; one with GPUs keeps the lower layer as it is", () => {
  expect(amd.visibility({ granted: [], nodeEnvironment: {} })).toEqual({
    HIP_VISIBLE_DEVICES: "",
    ROCR_VISIBLE_DEVICES: "",
  });
});

test("accelerator types are Ray's", () => {
  expect(amdAcceleratorType("AMD Instinct MI300X OAM")).toBe("AMD-Instinct-MI300X-OAM");
  expect(amdAcceleratorType("Navi 32 [Radeon RX 7700 XT / 7800 XT]")).toBe("AMD-Radeon-RX-7700-XT-7800-XT");
  expect(amdAcceleratorType("")).toBe("AMD");
});

describe("Hygon", () => {
  const machine: MemoryMachine = { folders: { "/dev": ["kfd"] }, tools: { "hy-smi": fixture("hy-smi-2xK100.json") } };

  test("DCUs by hy-smi: other keys, other units, the same runtime", async () => {
    const found = await hygon.fingerprint(memoryProbe(machine));
    expect(found.devices).toMatchObject([
      { uuid: "ROCM-0x77d2a00000000101", memoryBytes: 65_520 * 1_048_576, acceleratorType: "DCU-K100" },
      { uuid: "ROCM-0x77d2a00000000102" },
    ]);
    const { stats } = await hygon.stats(memoryProbe(machine), found.devices);
    expect(stats.map(({ utilization }) => utilization)).toEqual([0.55, 0]);
    expect(hygon.visibilityVariable).toBe("HIP_VISIBLE_DEVICES");
  });

  test("a process with DCUs is not hidden from them by what hides AMD GPUs", async () => {
    const { devices } = await hygon.fingerprint(memoryProbe(machine));
    const shown = deviceVariables(builtinPlugins, { granted: devices, nodeEnvironment: {} });
    expect(shown["HIP_VISIBLE_DEVICES"]).toBe("0,1");
    expect(shown).not.toHaveProperty("ROCR_VISIBLE_DEVICES");
  });

  test("its driver's /dev/kfd makes no AMD GPU, and its cards in rocm-smi are not AMD's", async () => {
    expect((await amd.fingerprint(memoryProbe(machine))).state).toBe("none");
    const aliased = memoryProbe({ ...machine, tools: { "rocm-smi": fixture("hy-smi-2xK100.json") } });
    expect((await amd.fingerprint(aliased)).devices).toEqual([]);
  });
});
