import { expect, test } from "vitest";
import { builtinPlugins, DEVICE_LIMIT, detectDevices, type MemoryMachine, memoryProbe } from "../src/index.ts";
import { parseNpuProcesses } from "../src/vendors/ascend-activity.ts";
import { parseNpuMap, parseNpuTable } from "../src/vendors/ascend-output.ts";
import { parseNvidiaProcesses } from "../src/vendors/nvidia-activity.ts";
import { parseNvidiaList, parseNvidiaQuery } from "../src/vendors/nvidia-output.ts";
import { WarningList } from "../src/warning-list.ts";
import { fixture } from "./fixture.ts";
import { rowParsers } from "./parsers.ts";

function detect(machine: MemoryMachine, environment = {}) {
  return detectDevices({ plugins: builtinPlugins, probe: memoryProbe(machine), environment, nodeName: "n" });
}

const HEADER = "index, uuid, name, memory.total [MiB], driver_version";

test("B37: a machine of 10 000 devices offers 256 of a vendor, and says so", async () => {
  const rows = Array.from({ length: 10_000 }, (_, at) => `${at}, GPU-flood-${at}, NVIDIA H100, 81559 MiB, 570.1`);
  const found = await detect({ tools: { "nvidia-smi": [HEADER, ...rows].join("\n") } });
  expect(found.counts).toEqual({ GPU: DEVICE_LIMIT });
  expect(found.warnings.join()).toContain(`beyond the limit of ${DEVICE_LIMIT}`);
  const cards = Object.fromEntries(Array.from({ length: 10_000 }, (_, at) => [`card${at}`, { "GPU use (%)": "0" }]));
  expect(rowParsers["rocm-smi"]!(JSON.stringify(cards)).rows).toHaveLength(DEVICE_LIMIT);
  const files = Array.from({ length: 10_000 }, (_, at) => `davinci${at}`);
  expect((await detect({ folders: { "/dev": files } })).counts["NPU"]).toBeLessThanOrEqual(DEVICE_LIMIT);
});

test("B37: a uuid that is already known is not offered a second time, by any vendor", () => {
  const twice = `${HEADER}\n0, GPU-same, H100, 1 MiB, 570.1\n1, GPU-same, H100, 1 MiB, 570.1\n`;
  expect(parseNvidiaQuery(twice).gpus).toHaveLength(1);
  const places: [parser: string, sample: string, from: string, to: string][] = [
    ["rocm-smi", "rocm-smi-mi210x2.json", "0000:CC:00.0", "0000:C9:00.0"],
    ["cnmon", "cnmon-2xMLU590.txt", "0000:1B:00.0", "0000:1A:00.0"],
    ["mthreads-gmi", "mthreads-gmi-S4000.txt", "00000000:86:00.0", "00000000:5e:00.0"],
    ["furiosa-smi info", "furiosa-smi-info-2xRNGD.txt", "0000:65:00.0", "0000:17:00.0"],
    ["xpu-smi discovery", "xpu-smi-discovery-2x1550.txt", "0000:9a:00.0", "0000:3a:00.0"],
  ];
  for (const [parser, sample, from, to] of places) {
    const output = rowParsers[parser]!(fixture(sample).replace(from, to));
    expect([parser, output.rows.length]).toEqual([parser, 1]);
    expect(output.warnings.join()).toContain("again");
  }
});

test("B38: negative memory, negative counts and percentages that are words are not taken for values", () => {
  const [gpu] = parseNvidiaQuery(`${HEADER}\n0, GPU-aaaa, H100, -5 MiB, 570.1\n`).gpus;
  expect(gpu).not.toHaveProperty("memoryBytes");
  const table = fixture("mthreads-gmi-S4000.txt").replace("40960MiB(49152MiB)", "-1MiB(-2MiB)").replace("73%", "busy");
  const [row] = rowParsers["mthreads-gmi"]!(table).rows;
  expect(row).toMatchObject({ index: 0 });
  for (const name of ["memoryUsedBytes", "memoryTotalBytes", "utilization"]) expect(row).not.toHaveProperty(name);
  const apps = fixture("nvidia-smi-compute-apps.csv").replace("39800 MiB", "-39800 MiB").replace(" 911,", " -911,");
  const processes = parseNvidiaProcesses(apps, new WarningList())!;
  expect(processes.map(({ pid, memoryUsedBytes }) => [pid, memoryUsedBytes])).toEqual([
    [40_211, undefined],
    [40_377, undefined],
  ]);
});

test.each<[string, string, number]>([
  ["empty", "", 0],
  ["header only", `${HEADER}\n`, 0],
  ["[N/A] everywhere", `${HEADER}\n0, [N/A], [N/A], [N/A], [N/A]\n`, 0],
  ["[N/A] memory", `${HEADER}\n0, GPU-aaaa, NVIDIA GB10, [N/A], 580.1\n`, 1],
  ["MIG rows", fixture("nvidia-smi-L-2xA30-mig.txt"), 0],
  ["translated text", "NVIDIA-SMI ist fehlgeschlagen, weil es nicht mit dem Treiber kommunizieren konnte.\n", 0],
  ["10 MB", "x".repeat(10_485_760), 0],
  ["10 MB of rows", `${HEADER}\n${"0, GPU-aaaa, H100, 1 MiB, 570.1\n".repeat(320_000)}`, 1],
])("B39: nvidia-smi's query: %s", async (_case, text, gpus) => {
  expect(parseNvidiaQuery(text).gpus).toHaveLength(gpus);
  const found = await detect({ tools: { "nvidia-smi": text } });
  expect(found.counts["GPU"] ?? 0).toBe(gpus);
});

test("B39: the old UUID form of MIG devices is theirs, and they are no GPUs", () => {
  const { gpus, migs } = parseNvidiaList(fixture("nvidia-smi-L-2xA30-mig.txt"));
  expect(gpus).toHaveLength(2);
  expect(migs.map(({ uuid, index }) => [uuid, index])).toEqual([
    ["MIG-6b20c0de-0b02-4b1d-9c00-0000000001b1", 0],
    ["MIG-GPU-6b20c0de-0b02-4b1d-9c00-0000000000b1/5/0", 1],
  ]);
});

test("B39: PIXNODE in the topology leaves the GPUs without links", async () => {
  const damaged = fixture("nvidia-smi-topo-m-4xL40S-pairs.txt").replace("SYS\tPIX", "SYSPIX");
  const found = await detect({
    tools: { "nvidia-smi": ([first]) => (first === "topo" ? damaged : fixture("nvidia-smi-query-4xL40S.csv")) },
  });
  expect(found).toMatchObject({ counts: { GPU: 4 }, links: [] });
  expect(found.warnings.join()).toContain("matrix is damaged");
});

const npuTable = fixture("npu-smi-info-2x910B4-processes.txt");
const lines = npuTable.split("\n");

test.each<[string, string, number]>([
  ["width of 24.1", fixture("npu-smi-info-2x910B4.txt"), 2],
  ["width without PCI", fixture("npu-smi-info-310B-no-pci.txt"), 1],
  ["width of dual dies", fixture("npu-smi-info-dual-die.txt"), 2],
  ["width of 950", fixture("npu-smi-info-950.txt"), 1],
  ["process table only", lines.slice(lines.findIndex((line) => line.includes("Process id")) - 1).join("\n"), 0],
])("B40: npu-smi's table: %s", (_case, text, rows) => {
  expect(parseNpuTable(text).rows).toHaveLength(rows);
});

test("B40: a map without Mcu rows, and one with dashes for logic ids, has the chips that have a number", () => {
  const map = fixture("npu-smi-info-m-2x910B4.txt");
  const without = map
    .split("\n")
    .filter((line) => !line.includes("Mcu"))
    .join("\n");
  expect(parseNpuMap(without).rows).toEqual(parseNpuMap(map).rows);
  const dashed = "NPU ID  Chip ID  Chip Logic ID  Chip Name\n0 0 - Ascend 910B3\n1 0 1 Ascend 910B3\n";
  expect(parseNpuMap(dashed).rows.map(({ card, number }) => [card, number])).toEqual([[1, 1]]);
});

test("B40: a process without a name is a process", () => {
  expect(parseNpuProcesses(npuTable, new WarningList())?.map(({ pid, name }) => [pid, name])).toEqual([
    [52_001, "python3"],
    [52_002, undefined],
  ]);
});

test.each<[plugin: string, variable: string, value: string]>([
  ["nvidia", "CUDA_VISIBLE_DEVICES", "0,0"],
  ["nvidia", "CUDA_VISIBLE_DEVICES", "9"],
  ["nvidia", "CUDA_VISIBLE_DEVICES", "0;1"],
  ["ascend", "ASCEND_RT_VISIBLE_DEVICES", "0,0"],
  ["ascend", "ASCEND_RT_VISIBLE_DEVICES", "7"],
  ["amd", "HIP_VISIBLE_DEVICES", "1,1"],
  ["amd", "HIP_VISIBLE_DEVICES", "2"],
  ["cambricon", "MLU_VISIBLE_DEVICES", "5"],
])("B41: %s: %s=%s of the node is refused at start", async (_plugin, variable, value) => {
  const machine: MemoryMachine = {
    folders: { "/dev": ["davinci0", "davinci1", "kfd", "cambricon_dev0"] },
    tools: { "nvidia-smi": fixture("nvidia-smi-query-4xL40S.csv"), "rocm-smi": fixture("rocm-smi-mi210x2.json") },
  };
  const refused = { code: "INVALID_VISIBLE_DEVICES", details: { variable } };
  await expect(detect(machine, { [variable]: value })).rejects.toMatchObject(refused);
});
