import { describe, expect, test } from "vitest";
import { type DevicePlugin, memoryProbe } from "../src/index.ts";
import { cambricon } from "../src/vendors/cambricon.ts";
import { furiosa } from "../src/vendors/furiosa.ts";
import { iluvatar } from "../src/vendors/iluvatar.ts";
import { metax } from "../src/vendors/metax.ts";
import { mooreThreads } from "../src/vendors/moore-threads.ts";
import { rebellions } from "../src/vendors/rebellions.ts";
import { fixture } from "./fixture.ts";

const MIB = 1_048_576;

interface Case {
  readonly plugin: DevicePlugin;
  readonly tool: string;
  readonly sample: string;
  /** Device files that the vendor's driver makes: folder, names. */
  readonly files: [folder: string, names: string[]];
  readonly devices: object[];
  readonly stats: object;
  readonly variables: Record<string, string>;
}

const cases: Case[] = [
  {
    plugin: mooreThreads,
    tool: "mthreads-gmi",
    sample: "mthreads-gmi-S4000.txt",
    files: ["/dev", ["mtgpu.0", "mtgpu.1"]],
    devices: [
      { uuid: "MTT-0000:5e:00.0@imagined", resource: "GPU", acceleratorType: "MTT-S4000", memoryBytes: 49_152 * MIB },
      { uuid: "MTT-0000:86:00.0@imagined", index: 1 },
    ],
    stats: { utilization: 0.73, memoryUsedBytes: 40_960 * MIB, temperatureC: 66 },
    variables: { MUSA_VISIBLE_DEVICES: "1" },
  },
  {
    plugin: cambricon,
    tool: "cnmon",
    sample: "cnmon-2xMLU590.txt",
    files: ["/dev", ["cambricon_dev0", "cambricon_dev1", "cambricon_ctl"]],
    devices: [
      { uuid: "MLU-0000:1a:00.0@imagined", acceleratorType: "MLU590-H8", memoryBytes: 81_920 * MIB, health: "ok" },
      { index: 1, health: "unhealthy", healthReason: "3 uncorrected ECC errors" },
    ],
    stats: { utilization: 0.44, memoryUsedBytes: 70_311 * MIB, temperatureC: 51, powerW: 241, eccErrors: 0 },
    variables: { MLU_VISIBLE_DEVICES: "1" },
  },
  {
    plugin: iluvatar,
    tool: "ixsmi",
    sample: "ixsmi-2xBI-V150.csv",
    files: ["/dev", ["iluvatar0", "iluvatar1"]],
    devices: [
      { uuid: "ILUVATAR-0@imagined", acceleratorType: "BI-V150", memoryBytes: 32_768 * MIB },
      { uuid: "ILUVATAR-1@imagined" },
    ],
    stats: { utilization: 0.88, memoryUsedBytes: 29_011 * MIB, temperatureC: 61 },
    variables: { CUDA_VISIBLE_DEVICES: "1" },
  },
  {
    plugin: rebellions,
    tool: "rbln-smi",
    sample: "rbln-smi-2xCA25.txt",
    files: ["/dev", ["rbln0", "rbln1"]],
    devices: [
      { uuid: "RBLN-0000:a1:00.0@imagined", resource: "RBLN", acceleratorType: "RBLN-CA25" },
      { uuid: "RBLN-0000:a2:00.0@imagined", index: 1 },
    ],
    stats: { utilization: 0.713, temperatureC: 41, powerW: 52.7 },
    variables: { RBLN_DEVICES: "1" },
  },
  {
    plugin: furiosa,
    tool: "furiosa-smi",
    sample: "furiosa-smi-info-2xRNGD.txt",
    files: ["/dev/rngd", ["npu0mgmt", "npu0pe0", "npu1mgmt"]],
    devices: [
      { uuid: "FURIOSA-0000:17:00.0@imagined", resource: "FURIOSA", acceleratorType: "FURIOSA_RNGD" },
      { uuid: "FURIOSA-0000:65:00.0@imagined", index: 1 },
    ],
    stats: { temperatureC: 39.12, powerW: 36.1 },
    variables: { FURIOSA_DEVICES: "npu:1" },
  },
];

describe.each(cases.map((one) => [one.plugin.vendor, one] as const))("%s", (_vendor, one) => {
  const { plugin, tool, sample, files, devices, stats, variables } = one;
  const folders = { [files[0]]: files[1] };
  const machine = (story: Parameters<typeof memoryProbe>[0]["tools"]) => memoryProbe({ folders, tools: story ?? {} });

  test("devices, stats and variable", async () => {
    const probe = machine({ [tool]: fixture(sample) });
    const found = await plugin.fingerprint(probe);
    expect(found).toMatchObject({ state: "ok", devices });
    expect(found.devices).toHaveLength(2);
    const report = await plugin.stats(probe, found.devices);
    expect(report).toMatchObject({ state: "ok", stats: [stats, {}] });
    expect(report.stats.map(({ uuid }) => uuid)).toEqual(found.devices.map(({ uuid }) => uuid));
    expect(plugin.visibility({ granted: found.devices.slice(1), nodeEnvironment: {} })).toEqual(variables);
    const [name] = Object.keys(variables);
    expect(plugin.visibility({ granted: [], nodeEnvironment: {} })).toEqual({ [name!]: "" });
  });

  test("without the tool the device files count, with unknown health; without both there is none", async () => {
    const found = await plugin.fingerprint(machine({}));
    expect(found.devices.map(({ index, health }) => [index, health])).toEqual([
      [0, "unknown"],
      [1, "unknown"],
    ]);
    expect((await plugin.fingerprint(memoryProbe({}))).state).toBe("none");
  });

  test("a node without the tool locks the same files as one with it", async () => {
    const locks = async (tools: NonNullable<Parameters<typeof machine>[0]>) =>
      (await plugin.fingerprint(machine(tools))).devices.map(({ index, lockName }) => [index, lockName]);
    const without = await locks({});
    expect(without).toHaveLength(2);
    expect(await locks({ [tool]: fixture(sample) })).toEqual(without);
  });

  test("F35: a tool that hangs, fails or garbles means unknown", async () => {
    for (const story of [{ end: "timeout" as const }, { exitCode: 1 }, "", "\u0000garbage\n"]) {
      expect(await plugin.fingerprint(machine({ [tool]: story }))).toMatchObject({ state: "unknown", devices: [] });
    }
  });
});

describe("metax", () => {
  const tools = {
    "mx-smi": ([first]: readonly string[]) => fixture(first === "-L" ? "mx-smi-L-2xC500.txt" : "mx-smi-2xC500.txt"),
  };

  test("identity by UUID from the list, values from the table; a faulty card has no UUID and is not offered", async () => {
    const probe = memoryProbe({ tools });
    const found = await metax.fingerprint(probe);
    expect(found).toMatchObject({
      state: "ok",
      devices: [
        {
          uuid: "GPU-2c3d0001-77aa-4e10-8f00-00000000ce01",
          acceleratorType: "MXC500",
          memoryBytes: 65_536 * MIB,
          pciAddress: "0000:0e:00.0",
          lockName: "GPU-2c3d0001-77aa-4e10-8f00-00000000ce01",
        },
      ],
      unusable: [{ index: 1, pciAddress: "0000:0f:00.0" }],
    });
    const { stats } = await metax.stats(probe, found.devices);
    expect(stats).toMatchObject([{ utilization: 0.91, memoryUsedBytes: 61_440 * MIB, temperatureC: 47 }]);
    expect(metax.visibility({ granted: found.devices, nodeEnvironment: {} })).toEqual({ CUDA_VISIBLE_DEVICES: "0" });
  });

  test("the table of 2.2.9 names board and GPU; topo -m has the links and the place", async () => {
    const samples: Record<string, string> = { "-L": "mx-smi-L-2.2.9-2xC500.txt", topo: "mx-smi-topo-m-2xC500.txt" };
    const probe = memoryProbe({
      tools: { "mx-smi": ([first]) => fixture(samples[first ?? ""] ?? "mx-smi-2.2.9-2xC500.txt") },
    });
    const found = await metax.fingerprint(probe);
    const [one, two] = found.devices;
    expect(one).toMatchObject({ model: "MXC500", memoryBytes: 65_536 * MIB, numaNode: 1, cpuAffinity: "32-47,96-111" });
    expect(found).toMatchObject({ warnings: [], links: [{ from: one!.uuid, to: two!.uuid, kind: "MXLINK" }] });
    const { stats } = await metax.stats(probe, found.devices);
    expect(stats[0]).toMatchObject({ utilization: 0.17, powerW: 157, temperatureC: 45, memoryUsedBytes: 40_826 * MIB });
  });

  test("another maker's mx-smi is none; a table that fails leaves the list", async () => {
    const moffett = memoryProbe({ tools: { "mx-smi": "MOFFETT-SMI 2.3.0   Driver Version 3.5.2\n" } });
    expect((await metax.fingerprint(moffett)).state).toBe("none");
    const half = memoryProbe({
      tools: { "mx-smi": ([first]) => (first === "-L" ? fixture("mx-smi-L-2xC500.txt") : { exitCode: 1 }) },
    });
    expect((await metax.fingerprint(half)).devices).toHaveLength(1);
  });
});

test("rebellions: rbln-stat is asked where rbln-smi is not there yet", async () => {
  const probe = memoryProbe({ folders: { "/dev": ["rbln0"] }, tools: { "rbln-stat": fixture("rbln-smi-2xCA25.txt") } });
  expect((await rebellions.fingerprint(probe)).devices).toHaveLength(2);
});

test("iluvatar: UUID, place and links where the tool tells them", async () => {
  const probe = memoryProbe({
    tools: {
      ixsmi: ([first]) => fixture(first === "topo" ? "ixsmi-topo-m-2xBI-V150.txt" : "ixsmi-query-placed-2xBI-V150.csv"),
    },
  });
  const found = await iluvatar.fingerprint(probe);
  expect(found).toMatchObject({
    warnings: [],
    devices: [
      { uuid: "GPU-7c1d2e00-5f5f-5a5a-9b9b-000000000b01", pciAddress: "0000:4b:00.0", numaNode: 1 },
      { uuid: "GPU-7c1d2e00-5f5f-5a5a-9b9b-000000000b02", cpuAffinity: "16-31,80-95" },
    ],
    links: [{ kind: "PIX" }],
  });
  expect((await iluvatar.stats(probe, found.devices)).stats[0]).toMatchObject({ powerW: 101, utilization: 0.88 });
  const bare = await iluvatar.fingerprint(memoryProbe({ folders: { "/dev": ["iluvatar0", "iluvatar1"] } }));
  expect(bare.devices.map(({ lockName }) => lockName)).toEqual(found.devices.map(({ lockName }) => lockName));
});
