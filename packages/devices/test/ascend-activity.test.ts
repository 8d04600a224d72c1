import { expect, test } from "vitest";
import { ascend, memoryProbe, type ToolStory } from "../src/index.ts";
import { parseNpuProcesses, parseNpuUsages } from "../src/vendors/ascend-activity.ts";
import { WarningList } from "../src/warning-list.ts";
import { fixture, hardwareSample } from "./fixture.ts";

const MB = 1_048_576;

function machine(numbers: readonly number[], answers: Record<string, ToolStory>, name = "npu-host") {
  const failure: ToolStory = { exitCode: 255, stdout: "dcmi model initialized failed\n" };
  return memoryProbe({
    machine: name,
    folders: { "/dev": numbers.map((number) => `davinci${number}`) },
    tools: { "npu-smi": (args) => answers[args.join(" ")] ?? failure },
  });
}

const two = {
  "info -m": fixture("npu-smi-info-m-2x910B4.txt"),
  info: fixture("npu-smi-info-2x910B4-processes.txt"),
  "info -t topo": fixture("npu-smi-info-t-topo-2x910B4.txt"),
};

test("links and CPU affinity come from the topology, by device number", async () => {
  const found = await ascend.fingerprint(machine([0, 1], two));
  expect(found.links).toEqual([{ from: "NPU-2-0-0@npu-host", to: "NPU-5-0-1@npu-host", kind: "HCCS" }]);
  expect(found.devices.map(({ cpuAffinity }) => cpuAffinity)).toEqual(["24-47", "72-95"]);
});

test("two machines' NPUs with the same numbers are different devices, with locks of their own machine", async () => {
  const looks = await Promise.all(["a", "b"].map((name) => ascend.fingerprint(machine([0, 1], two, name))));
  expect(new Set(looks.flatMap(({ devices }) => devices.map(({ uuid }) => uuid))).size).toBe(4);
  expect(looks[1]!.devices[0]!.lockName).toBe("NPU-davinci0");
});

test("F33: processes come from the second table, with blank names too", async () => {
  const probe = machine([0, 1], two);
  const { devices } = await ascend.fingerprint(probe);
  expect(await ascend.processes(probe, devices)).toMatchObject({
    state: "ok",
    processes: [
      { uuid: devices[0]!.uuid, pid: 52_001, name: "python3", memoryUsedBytes: 27_300 * MB },
      { uuid: devices[0]!.uuid, pid: 52_002, memoryUsedBytes: 61 * MB },
    ],
  });
  expect(await ascend.processes(machine([0], { info: { end: "timeout" } }), devices)).toMatchObject({
    state: "unknown",
    error: { code: "PROBE_TIMEOUT" },
  });
});

test("7.2 item 7: Health that is not OK is unhealthy, with the tool's word", async () => {
  const probe = machine([0, 1], two);
  const { devices } = await ascend.fingerprint(probe);
  const { stats } = await ascend.stats(probe, devices);
  expect(stats).toMatchObject([
    { health: "ok", utilization: 0.77 },
    { health: "unhealthy", healthReason: "npu-smi says Health Alarm" },
  ]);
});

test("an Ascend 950 is asked for its memory by the card alone, never by the chip", async () => {
  const probe = machine([0], {
    "info -m": "NPU ID  Slot ID  Chip ID  Chip Phy-ID  Chip Name\n0       4        0        0            Ascend950PR\n",
    info: fixture("npu-smi-info-950.txt"),
    "info -t usages -i 0": fixture("npu-smi-info-t-usages-950PR.txt"),
  });
  const { devices } = await ascend.fingerprint(probe);
  expect(devices).toMatchObject([{ uuid: "NPU-0-0-0@npu-host", memoryBytes: 114_688 * MB, health: "ok" }]);
  const { stats } = await ascend.stats(probe, devices);
  expect(stats).toMatchObject([
    { utilization: 0.61, memoryTotalBytes: 114_688 * MB, memoryUsedBytes: 28_672 * MB, temperatureC: 48 },
  ]);
  expect(probe.calls.filter((argv) => argv.includes("-c"))).toEqual([]);
});

test("of the blocks of -t common only the chip's is read, not the management chip's", () => {
  expect(parseNpuUsages(fixture("npu-smi-info-t-common-910B4.txt"))).toEqual({
    utilization: 0.77,
    temperatureC: 41,
    powerW: 90.1,
  });
});

test.runIf(hardwareSample("README.md"))("the shared samples are read", () => {
  expect(parseNpuUsages(hardwareSample("npu-smi-info-t-common-910B.txt")!)).toMatchObject({ temperatureC: 46 });
  expect(parseNpuUsages(hardwareSample("npu-smi-info-t-usages-950.txt")!)).toMatchObject({
    memoryTotalBytes: 131_072 * MB,
    utilization: 0.37,
  });
  const processes = parseNpuProcesses(hardwareSample("npu-smi-info-910B3-processes.txt")!, new WarningList());
  expect(processes?.map(({ card, pid, name }) => [card, pid, name])).toEqual([
    [0, 1_000_001, undefined],
    [0, 1_000_002, undefined],
    [5, 1_000_003, "VLLMEngineCore"],
  ]);
  expect(parseNpuProcesses(hardwareSample("npu-smi-info-910B3-8card.txt")!, new WarningList())).toBeUndefined();
});
