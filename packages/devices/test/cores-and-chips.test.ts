import { describe, expect, test } from "vitest";
import { builtinPlugins, detectDevices, type Environment, type MemoryMachine, memoryProbe } from "../src/index.ts";
import { apple } from "../src/vendors/apple.ts";
import { biren } from "../src/vendors/biren.ts";
import { mobilint } from "../src/vendors/mobilint.ts";
import { neuron, parseNeuronLs } from "../src/vendors/neuron.ts";
import { tenstorrent } from "../src/vendors/tenstorrent.ts";
import { tpu } from "../src/vendors/tpu.ts";
import { fixture } from "./fixture.ts";

function detect(machine: MemoryMachine, environment: Environment = {}) {
  return detectDevices({ plugins: builtinPlugins, probe: memoryProbe(machine), environment, nodeName: "n" });
}

describe("AWS Neuron", () => {
  const machine: MemoryMachine = {
    folders: { "/dev": ["neuron0", "neuron1"] },
    tools: { "neuron-ls": fixture("neuron-ls-2xtrn1.json") },
  };

  test("ray 5: cores are counted, not chips; cores are linked over their chips", async () => {
    const { counts, devices, links } = await detect(machine);
    expect(counts).toEqual({ neuron_cores: 4 });
    expect(devices.map(({ index, uuid }) => [index, uuid])).toEqual([
      [0, "NEURON-0000:10:1c.0-0@imagined"],
      [1, "NEURON-0000:10:1c.0-1@imagined"],
      [2, "NEURON-0000:10:1d.0-0@imagined"],
      [3, "NEURON-0000:10:1d.0-1@imagined"],
    ]);
    expect(devices[0]).toMatchObject({
      acceleratorType: "aws-neuron-core",
      memoryBytes: 16 * 2 ** 30,
      cpuAffinity: "0-31",
    });
    expect(devices.map(({ numaNode }) => numaNode)).toEqual([undefined, undefined, 1, 1]);
    const indices = new Map(devices.map(({ uuid, index }) => [uuid, index]));
    expect(links.map(({ from, to, kind }) => `${indices.get(from)}-${indices.get(to)} ${kind}`)).toEqual([
      ...["0-1 CHIP", "0-2 NEURONLINK", "0-3 NEURONLINK", "1-2 NEURONLINK", "1-3 NEURONLINK", "2-3 CHIP"],
    ]);
  });

  test("processes are known by core", async () => {
    const { devices } = await detect(machine);
    expect((await neuron.processes(memoryProbe(machine), devices)).processes).toEqual([
      { uuid: devices[1]!.uuid, pid: 4_400, name: "python3 train.py" },
    ]);
  });

  test("the node's own list may have ranges", async () => {
    const { devices } = await detect(machine, { NEURON_RT_VISIBLE_CORES: "1-3" });
    expect(devices.map(({ index }) => index)).toEqual([1, 2, 3]);
    expect(neuron.visibility({ granted: devices, nodeEnvironment: {} })).toEqual({ NEURON_RT_VISIBLE_CORES: "1,2,3" });
    for (const value of ["3-1", "0-9999", "1-"]) {
      await expect(detect(machine, { NEURON_RT_VISIBLE_CORES: value })).rejects.toMatchObject({
        code: "INVALID_VISIBLE_DEVICES",
      });
    }
  });

  test("the tool's numbers of cores count, not their order; chips that share a core are not both offered", () => {
    const chips = JSON.parse(fixture("neuron-ls-2xtrn1.json"));
    chips[1].neuroncore_ids = [6, 7];
    expect(parseNeuronLs(JSON.stringify(chips)).rows.map(({ index }) => index)).toEqual([0, 1, 6, 7]);
    chips[1].neuroncore_ids = [1, 2];
    expect(parseNeuronLs(JSON.stringify(chips)).rows.map(({ index }) => index)).toEqual([0, 1]);
    delete chips[1].neuroncore_ids;
    expect(parseNeuronLs(JSON.stringify(chips)).rows.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
  });

  test("without the tool the driver's sysfs has the cores", async () => {
    const sysfs = "/sys/devices/virtual/neuron_device";
    const { devices, links } = await detect({
      folders: { "/dev": ["neuron0", "neuron1"] },
      files: {
        [`${sysfs}/neuron0/core_count`]: "2\n",
        [`${sysfs}/neuron1/core_count`]: "2\n",
        [`${sysfs}/neuron0/connected_devices`]: "1\n",
      },
    });
    expect(devices.map(({ index, health }) => [index, health])).toEqual(
      [0, 1, 2, 3].map((index) => [index, "unknown"]),
    );
    expect(links).toHaveLength(6);
    const told = await detect(machine);
    expect(devices.map(({ lockName }) => lockName)).toEqual(told.devices.map(({ lockName }) => lockName));
  });

  test("chips without the tool mean unknown, since nobody knows how many cores they have", async () => {
    const bare = await neuron.fingerprint(memoryProbe({ folders: { "/dev": ["neuron0"] } }));
    expect(bare).toMatchObject({ state: "unknown", devices: [], error: { code: "PROBE_MISSING" } });
    const installed = memoryProbe({
      folders: { "/dev": ["neuron0"] },
      tools: { "/opt/aws/neuron/bin/neuron-ls": fixture("neuron-ls-2xtrn1.json") },
    });
    expect((await neuron.fingerprint(installed)).devices).toHaveLength(4);
  });
});

describe("Google TPU", () => {
  const chips = (vendor: string, count = 4): MemoryMachine => ({
    folders: {
      "/dev": [...Array.from({ length: count }, (_, chip) => `accel${chip}`), { name: "accel", kind: "directory" }],
    },
    files: Object.fromEntries(
      Array.from({ length: count }, (_, chip) => [
        [`/sys/class/accel/accel${chip}/device/vendor`, `${vendor}\n`],
        [`/sys/class/accel/accel${chip}/device/device`, "0x005e\n"],
        [`/sys/class/accel/accel${chip}/device/uevent`, `PCI_SLOT_NAME=0000:00:0${chip + 4}.0\n`],
      ]).flat(),
    ),
  });
  const vfio: MemoryMachine = {
    folders: {
      "/dev/vfio": ["0", "1", "7", "vfio"],
      "/sys/kernel/iommu_groups/0/devices": [{ name: "0000:00:05.0", kind: "link" }],
      "/sys/kernel/iommu_groups/1/devices": [{ name: "0000:00:06.0", kind: "link" }],
      "/sys/kernel/iommu_groups/7/devices": [{ name: "0000:05:00.0", kind: "link" }],
    },
    files: {
      "/sys/bus/pci/devices/0000:00:05.0/vendor": "0x1ae0\n",
      "/sys/bus/pci/devices/0000:00:05.0/device": "0x006f\n",
      "/sys/bus/pci/devices/0000:00:06.0/vendor": "0x1ae0\n",
      "/sys/bus/pci/devices/0000:05:00.0/vendor": "0x10de\n",
    },
  };

  test("device rule 6: /dev/accelN and /dev/vfio/N count only with Google's PCI vendor number", async () => {
    expect((await detect(chips("0x1ae0"))).counts).toEqual({ TPU: 4 });
    expect((await detect(chips("0x8086"))).counts).toEqual({});
    const { devices } = await detect(vfio);
    expect(devices.map(({ uuid, acceleratorType }) => [uuid, acceleratorType])).toEqual([
      ["TPU-0000:00:05.0@imagined", "TPU-V6E"],
      ["TPU-0000:00:06.0@imagined", "TPU"],
    ]);
  });

  const shown = async (count: number, of = 8) => {
    const { devices } = await detect(chips("0x1ae0", of));
    return tpu.visibility({ granted: devices.slice(0, count), offered: devices, nodeEnvironment: {} });
  };

  test("ray 5: 1, 2 and 4 chips are written with the bounds of their shape", async () => {
    expect(await shown(1)).toEqual({
      TPU_VISIBLE_CHIPS: "0",
      TPU_CHIPS_PER_HOST_BOUNDS: "1,1,1",
      TPU_HOST_BOUNDS: "1,1,1",
    });
    expect(await shown(2)).toMatchObject({ TPU_VISIBLE_CHIPS: "0,1", TPU_CHIPS_PER_HOST_BOUNDS: "1,2,1" });
    expect(await shown(4)).toMatchObject({ TPU_VISIBLE_CHIPS: "0,1,2,3", TPU_CHIPS_PER_HOST_BOUNDS: "2,2,1" });
  });

  test("ray 5: all chips of the host leave the framework's defaults; none are hidden by an empty list", async () => {
    expect(await shown(8)).toEqual({});
    expect(await shown(4, 4)).toEqual({});
    expect(await shown(0)).toEqual({ TPU_VISIBLE_CHIPS: "" });
  });

  test.each([3, 5, 6, 7])("ray 5: %i chips are refused", async (count) => {
    await expect(shown(count)).rejects.toMatchObject({
      code: "INVALID_DEVICE_COUNT",
      details: { allowed: [1, 2, 4, 8] },
    });
    expect(tpu.grantSizes).not.toContain(count);
  });
});

describe("Apple", () => {
  const metal = fixture("system-profiler-m3.txt");
  const look = (text: string) => apple.fingerprint(memoryProbe({ tools: { system_profiler: text } }));

  test("ray 5: an Apple chip with Metal is one GPU, without a variable", async () => {
    const found = await look(metal);
    expect(found.devices).toMatchObject([{ index: 0, resource: "GPU", acceleratorType: "M3-Pro" }]);
    expect(apple.visibility({ granted: found.devices, nodeEnvironment: {} })).toEqual({});
    expect([apple.reservedVariables, apple.nosetVariables]).toEqual([[], []]);
  });

  test("another maker's GPU, an Apple chip without Metal and other systems are none", async () => {
    expect((await look(metal.replaceAll("Apple M3 Pro", "AMD Radeon Pro 5500M"))).state).toBe("none");
    expect((await look(metal.replace(/ +Metal Support.*\n/, ""))).state).toBe("none");
    expect((await apple.fingerprint(memoryProbe({}))).state).toBe("none");
    const hung = memoryProbe({ tools: { system_profiler: { end: "timeout" } } });
    expect((await apple.fingerprint(hung)).state).toBe("unknown");
  });
});

describe("vendors known by device files alone", () => {
  test("Tenstorrent: number, place and kind of card", async () => {
    const found = await tenstorrent.fingerprint(
      memoryProbe({
        folders: { "/dev/tenstorrent": ["1", "0", { name: "by-id", kind: "directory" }] },
        files: {
          "/sys/class/tenstorrent/tenstorrent!0/tt_card_type": "n300\n",
          "/sys/class/tenstorrent/tenstorrent!0/device/uevent": "PCI_SLOT_NAME=0000:41:00.0\n",
        },
      }),
    );
    expect(found.devices).toMatchObject([
      { uuid: "TT-0000:41:00.0@imagined", resource: "TTNPU", acceleratorType: "n300", health: "unknown" },
      { uuid: "TT-1@imagined", acceleratorType: "Tenstorrent" },
    ]);
    expect(tenstorrent.visibility({ granted: found.devices, nodeEnvironment: {} })).toEqual({
      TT_VISIBLE_DEVICES: "0,1",
    });
  });

  test("Tenstorrent: temperature and power from the kernel's sensors, where they are", async () => {
    const hwmon = "/sys/class/tenstorrent/tenstorrent!0/device/hwmon";
    const probe = memoryProbe({
      folders: { "/dev/tenstorrent": ["0", "1"], [hwmon]: [{ name: "hwmon3", kind: "directory" }] },
      files: { [`${hwmon}/hwmon3/temp1_input`]: "51250\n", [`${hwmon}/hwmon3/power1_input`]: "47000000\n" },
    });
    const { devices } = await tenstorrent.fingerprint(probe);
    const { stats } = await tenstorrent.stats(probe, devices);
    expect(stats).toEqual([
      { uuid: devices[0]!.uuid, health: "unknown", temperatureC: 51.25, powerW: 47 },
      { uuid: devices[1]!.uuid, health: "unknown" },
    ]);
  });

  test("Mobilint: one family of device files", async () => {
    const found = await mobilint.fingerprint(memoryProbe({ folders: { "/dev": ["aries0", "aries1", "regulus0"] } }));
    expect(found.devices).toMatchObject([{ resource: "MBLT", acceleratorType: "ARIES" }, { index: 1 }]);
    expect(found.warnings.join()).toContain("regulus");
  });

  test("Biren: card files", async () => {
    const found = await biren.fingerprint(memoryProbe({ folders: { "/dev/biren": ["card_0", "card_3", "ctl"] } }));
    expect(found.devices.map(({ index, resource }) => [index, resource])).toEqual([
      [0, "GPU"],
      [3, "GPU"],
    ]);
    expect(biren.visibility({ granted: found.devices.slice(1), nodeEnvironment: {} })).toEqual({
      SUPA_VISIBLE_DEVICES: "3",
    });
  });

  test("a folder that cannot be read means unknown", async () => {
    for (const [plugin, folder] of [
      [tenstorrent, "/dev/tenstorrent"],
      [mobilint, "/dev"],
      [biren, "/dev/biren"],
    ] as const) {
      expect((await plugin.fingerprint(memoryProbe({ folders: { [folder]: null } }))).state).toBe("unknown");
    }
  });
});
