import { expect, test } from "vitest";
import { ascend, memoryProbe, type ToolStory } from "../src/index.ts";
import { fixture } from "./fixture.ts";

const MB = 1_048_576;
const matrix = fixture("npu-smi-info-t-topo-2x910B4.txt");

interface NpuMachine {
  readonly numbers: readonly number[];
  readonly map?: ToolStory;
  readonly table?: ToolStory;
  readonly list?: ToolStory;
  readonly topology?: ToolStory;
}

/** A machine with these device files, whose npu-smi answers as told and fails otherwise. */
function machine({ numbers, map, table, list, topology = matrix }: NpuMachine) {
  const failure: ToolStory = { exitCode: 255, stdout: "dcmi model initialized failed\n" };
  return memoryProbe({
    folders: { "/dev": ["null", "davinci_manager", ...numbers.map((number) => `davinci${number}`)] },
    files: { "/sys/bus/pci/devices/0000:82:00.0/numa_node": "3\n" },
    tools: {
      "npu-smi": (args) =>
        ({ "info -m": map, info: table, "info -l": list, "info -t topo": topology })[args.join(" ")] ?? failure,
    },
  });
}

const map = fixture("npu-smi-info-m-2x910B4.txt");
const table = fixture("npu-smi-info-2x910B4.txt");

test("NPUs are the device files, with card, chip, health, memory and NUMA node from npu-smi", async () => {
  const found = await ascend.fingerprint(machine({ numbers: [1, 0], map, table }));
  expect(found).toMatchObject({ vendor: "ascend", state: "ok", version: "24.1.0", warnings: [] });
  expect(found.devices).toEqual([
    {
      uuid: "NPU-2-0-0@imagined",
      index: 0,
      resource: "NPU",
      vendor: "ascend",
      model: "Ascend 910B4",
      acceleratorType: "Ascend910B4",
      memoryBytes: 32_768 * MB,
      pciAddress: "0000:82:00.0",
      numaNode: 3,
      cpuAffinity: "24-47",
      health: "ok",
      lockName: "NPU-davinci0",
    },
    expect.objectContaining({
      uuid: "NPU-5-0-1@imagined",
      index: 1,
      health: "unhealthy",
      healthReason: "npu-smi says Health Warning",
    }),
  ]);
});

test("in a container the device files decide: only their chips, counted from 0", async () => {
  const { devices } = await ascend.fingerprint(machine({ numbers: [1], map, table }));
  expect(devices.map(({ uuid, index }) => [uuid, index])).toEqual([["NPU-5-0-1@imagined", 0]]);
});

test("a container that numbers its chips anew is matched in order when the counts are equal", async () => {
  const { devices } = await ascend.fingerprint(machine({ numbers: [4, 6], map, table }));
  expect(devices.map(({ uuid, index }) => [uuid, index])).toEqual([
    ["NPU-2-0-4@imagined", 0],
    ["NPU-5-0-6@imagined", 1],
  ]);
});

test("chips that cannot be matched to device files are not guessed", async () => {
  const found = await ascend.fingerprint(machine({ numbers: [4, 6, 7], map, table }));
  expect(found.devices.map(({ uuid, health }) => [uuid, health])).toEqual([
    ["NPU-davinci4@imagined", "unknown"],
    ["NPU-davinci6@imagined", "unknown"],
    ["NPU-davinci7@imagined", "unknown"],
  ]);
  expect(found.warnings.join()).toContain("npu-smi lists 2 chips, /dev has davinci4 davinci6 davinci7");
});

test("two dies of a card are two devices; without info -m the table's Phy-ID tells them apart", async () => {
  const { devices } = await ascend.fingerprint(
    machine({ numbers: [6, 7], table: fixture("npu-smi-info-dual-die.txt") }),
  );
  expect(devices.map(({ uuid, index }) => [uuid, index])).toEqual([
    ["NPU-3-0-6@imagined", 0],
    ["NPU-3-1-7@imagined", 1],
  ]);
});

test("with info -l alone the cards are matched in order", async () => {
  const { devices } = await ascend.fingerprint(
    machine({ numbers: [0, 1], list: fixture("npu-smi-info-l-2x910B4.txt") }),
  );
  expect(devices.map(({ uuid, health }) => [uuid, health])).toEqual([
    ["NPU-2-0-0@imagined", "unknown"],
    ["NPU-5-0-1@imagined", "unknown"],
  ]);
});

test("without npu-smi the device files count, with unknown health and the same lock names", async () => {
  const probe = memoryProbe({
    folders: { "/dev": ["davinci0", "davinci15", { name: "davinci3", kind: "directory" }] },
  });
  const found = await ascend.fingerprint(probe);
  expect(found.state).toBe("ok");
  expect(found.devices.map(({ index, health, lockName }) => [index, health, lockName])).toEqual([
    [0, "unknown", "NPU-davinci0"],
    [1, "unknown", "NPU-davinci15"],
  ]);
});

test("no device file means surely none, and no tool is run", async () => {
  const probe = machine({ numbers: [], map, table });
  expect((await ascend.fingerprint(probe)).state).toBe("none");
  expect(probe.calls).toEqual([]);
});

test("F35: a hanging npu-smi or an unreadable /dev means unknown", async () => {
  const hanging = machine({ numbers: [0, 1], map: { end: "timeout" } });
  expect(await ascend.fingerprint(hanging)).toMatchObject({
    state: "unknown",
    devices: [],
    error: { code: "PROBE_TIMEOUT" },
  });
  expect(hanging.calls).toHaveLength(1);
  expect((await ascend.fingerprint(memoryProbe({ folders: { "/dev": null } }))).state).toBe("unknown");
});

test("a table that hangs leaves the devices with unknown health", async () => {
  const found = await ascend.fingerprint(machine({ numbers: [0, 1], map, table: { end: "timeout" } }));
  expect(found.devices.map(({ uuid, health }) => [uuid, health])).toEqual([
    ["NPU-2-0-0@imagined", "unknown"],
    ["NPU-5-0-1@imagined", "unknown"],
  ]);
  expect(found.warnings).toHaveLength(1);
});

test("stats come from the table, by card and chip", async () => {
  const probe = machine({ numbers: [0, 1], map, table });
  const { devices } = await ascend.fingerprint(probe);
  const { stats } = await ascend.stats(probe, devices);
  expect(stats).toMatchObject([
    { uuid: "NPU-2-0-0@imagined", health: "ok", utilization: 0.35, memoryUsedBytes: 30_077 * MB, temperatureC: 37 },
    { uuid: "NPU-5-0-1@imagined", health: "unhealthy", powerW: 85.6 },
  ]);
  expect(await ascend.stats(machine({ numbers: [0] }), devices)).toMatchObject({
    state: "unknown",
    error: { code: "PROBE_FAILED" },
  });
});
