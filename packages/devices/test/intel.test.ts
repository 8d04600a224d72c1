import { describe, expect, test } from "vitest";
import { detectDevices, type MemoryMachine, memoryProbe, type ToolStory } from "../src/index.ts";
import { gaudi, gaudiAcceleratorType, parseHlQuery } from "../src/vendors/gaudi.ts";
import { intelAcceleratorType, intelGpu } from "../src/vendors/intel-gpu.ts";
import { fixture } from "./fixture.ts";

const GIB = 2 ** 30;
/** A card in sysfs. */
const card = (name: string, vendor: string, address: string) => ({
  [`/sys/class/drm/${name}/device/vendor`]: `${vendor}\n`,
  [`/sys/class/drm/${name}/device/uevent`]: `PCI_SLOT_NAME=${address}\n`,
});

describe("Intel GPUs", () => {
  const machine: MemoryMachine = {
    folders: { "/sys/class/drm": ["card0", "card1"] },
    files: { ...card("card0", "0x8086", "0000:3a:00.0"), ...card("card1", "0x8086", "0000:9a:00.0") },
    tools: { "xpu-smi": fixture("xpu-smi-discovery-2x1550.txt") },
  };

  test("by xpu-smi: identity by place, memory, and a state that is not normal is unhealthy", async () => {
    const found = await intelGpu.fingerprint(memoryProbe(machine));
    expect(found).toMatchObject({ state: "ok", version: "24.13.29138", warnings: [] });
    expect(found.devices).toMatchObject([
      {
        uuid: "INTEL-0000:3a:00.0@imagined",
        acceleratorType: "Intel-GPU-Max-1550",
        memoryBytes: 128 * GIB,
        health: "ok",
      },
      { health: "unhealthy", healthReason: "xpu-smi says Device State wedged" },
    ]);
    expect(await intelGpu.processes(memoryProbe(machine), found.devices)).toMatchObject({
      state: "unknown",
      error: { code: "PROBE_UNSUPPORTED" },
    });
  });

  test("figures of each card by xpu-smi stats; where it does not answer, health stays and the figures are not told", async () => {
    const story: { stats: ToolStory } = { stats: fixture("xpu-smi-stats-1550.json") };
    const discovery = fixture("xpu-smi-discovery-2x1550.txt");
    const tools = { "xpu-smi": ([first]: readonly string[]) => (first === "stats" ? story.stats : discovery) };
    const probe = memoryProbe({ ...machine, tools });
    const { devices } = await intelGpu.fingerprint(probe);
    expect(probe.calls.filter(([, first]) => first === "stats")).toEqual([]);
    const { stats } = await intelGpu.stats(probe, devices);
    expect(stats[0]).toEqual({
      ...{ uuid: devices[0]!.uuid, health: "ok", utilization: 0.875, temperatureC: 58, powerW: 512.25 },
      ...{ memoryUsedBytes: Math.round(51_200.5 * 2 ** 20), memoryTotalBytes: 128 * GIB },
    });
    story.stats = { end: "timeout", message: "xpu-smi was killed after 5000 ms" };
    probe.calls.length = 0;
    const bare = await intelGpu.stats(probe, devices);
    expect(bare).toMatchObject({ state: "ok", stats: [{ health: "ok" }, { health: "unhealthy" }] });
    expect(bare.stats[0]).not.toHaveProperty("utilization");
    expect(bare.warnings).toEqual(["xpu-smi tells no figures: xpu-smi was killed after 5000 ms"]);
    // One that hangs costs its time limit once.
    expect(probe.calls.filter(([, first]) => first === "stats")).toHaveLength(1);
  });

  test("device rule 7: another vendor's xpu-smi is not believed; without Intel's cards it is not even run", async () => {
    const kunlunxin = { "xpu-smi": "DevID  PCI  Name\n0 0000:53:00.0 P800 98304MiB\n" };
    const beside = await intelGpu.fingerprint(memoryProbe({ ...machine, tools: kunlunxin }));
    expect(beside.devices.map(({ pciAddress, health }) => [pciAddress, health])).toEqual([
      ["0000:3a:00.0", "unknown"],
      ["0000:9a:00.0", "unknown"],
    ]);
    expect(beside.warnings.join()).toContain("not Intel's");
    const alone = memoryProbe({ tools: kunlunxin });
    expect((await intelGpu.fingerprint(alone)).state).toBe("none");
    expect(alone.calls).toEqual([]);
  });

  test("a GPU inside of the processor is no accelerator", async () => {
    const files = card("card0", "0x8086", "0000:00:02.0");
    expect((await intelGpu.fingerprint(memoryProbe({ ...machine, files }))).state).toBe("none");
  });

  test("ray 5: ONEAPI_DEVICE_SELECTOR is a list too, and does not choose again below the mask", async () => {
    const environment = { ONEAPI_DEVICE_SELECTOR: "level_zero:1" };
    const probe = memoryProbe(machine);
    const { devices } = await detectDevices({ plugins: [intelGpu], probe, environment, nodeName: "n" });
    expect(devices.map(({ index }) => index)).toEqual([1]);
    expect(intelGpu.visibility({ granted: devices, nodeEnvironment: environment })).toEqual({
      ZE_AFFINITY_MASK: "1",
      ONEAPI_DEVICE_SELECTOR: "level_zero:*",
    });
    expect(intelGpu.visibility({ granted: [], nodeEnvironment: {} })).toEqual({ ZE_AFFINITY_MASK: "" });
  });

  test("accelerator types are Ray's where Ray has one", () => {
    expect(intelAcceleratorType("Intel(R) Data Center GPU Flex Series 170")).toBe("Intel-GPU-Flex-170");
    expect(intelAcceleratorType("Intel(R) Arc(TM) B580 Graphics")).toBe("Intel-Arc-B580-Graphics");
  });
});

describe("Gaudi", () => {
  const machine: MemoryMachine = {
    folders: { "/dev": [{ name: "accel", kind: "directory" }], "/dev/accel": ["accel0", "accel1"] },
    files: {
      "/sys/class/accel/accel0/device/vendor": "0x1da3\n",
      "/sys/class/accel/accel1/device/vendor": "0x1da3\n",
    },
    tools: { "hl-smi": fixture("hl-smi-query-2xgaudi2.csv") },
  };

  test("by hl-smi's query: the variable takes module numbers, whatever the order of the tool", async () => {
    const found = await gaudi.fingerprint(memoryProbe(machine));
    expect(found).toMatchObject({ state: "ok", version: "1.19.1-25b3c7f", warnings: [] });
    expect(found.devices).toMatchObject([
      {
        uuid: "HPU-0000:4d:00.0@imagined",
        index: 2,
        resource: "HPU",
        acceleratorType: "Intel-GAUDI2",
        memoryBytes: 96 * GIB,
      },
      { uuid: "HPU-0000:b4:00.0@imagined", index: 5 },
    ]);
    expect(gaudi.visibility({ granted: found.devices, nodeEnvironment: {} })).toEqual({
      HABANA_VISIBLE_MODULES: "2,5",
    });
    const { stats } = await gaudi.stats(memoryProbe(machine), found.devices);
    expect(stats[1]).toMatchObject({ utilization: 0.78, temperatureC: 41, powerW: 233 });
  });

  test("a node without hl-smi locks the same files as one with it, whatever the modules", async () => {
    const locks = async (tools: MemoryMachine["tools"]) =>
      (await gaudi.fingerprint(memoryProbe({ ...machine, ...(tools ? { tools } : { tools: {} }) }))).devices.map(
        ({ lockName }) => lockName,
      );
    const without = await locks(undefined);
    expect(without).toEqual(["HPU-file-0", "HPU-file-1"]);
    expect((await locks(machine.tools)).toSorted()).toEqual(without);
  });

  test("a version that does not know a field is read from its table, with ECC errors", async () => {
    const found = await gaudi.fingerprint(
      memoryProbe({
        ...machine,
        tools: {
          "hl-smi": (args) =>
            args.length > 0
              ? { exitCode: 1, stdout: "unknown field module_id\n" }
              : fixture("hl-smi-table-1xgaudi2.txt"),
        },
      }),
    );
    expect(found.devices).toMatchObject([
      { index: 3, pciAddress: "0000:b3:00.0", health: "unhealthy", healthReason: "4 uncorrected ECC errors" },
    ]);
    expect(found.warnings.join()).toContain("module numbers are not known");
  });

  test("device files of other makers are none; files without a tool are devices of unknown health", async () => {
    const other = memoryProbe({ ...machine, files: { "/sys/class/accel/accel0/device/vendor": "0x1ae0\n" } });
    expect((await gaudi.fingerprint(other)).state).toBe("none");
    expect(other.calls).toEqual([]);
    const bare = await gaudi.fingerprint(memoryProbe({ folders: { "/dev": ["hl0", "hl_controlD0"] } }));
    expect(bare.devices).toMatchObject([{ index: 0, health: "unknown" }]);
  });

  test("rows that lack the module are not offered under a wrong number", () => {
    const fields = ["index", "name", "bus_id", "module_id"];
    expect(parseHlQuery("0, HL-225, 0000:4d:00.0, N/A\n", fields).rows).toEqual([]);
  });

  test.each([
    ["HL-205", "Intel-GAUDI"],
    ["HL-225", "Intel-GAUDI2"],
    ["HL-325L", "Intel-GAUDI3"],
  ])("%s is %s", (name, type) => {
    expect(gaudiAcceleratorType(name)).toBe(type);
  });
});
