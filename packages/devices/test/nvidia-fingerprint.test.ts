import { expect, test } from "vitest";
import { type MemoryMachine, memoryProbe, nvidia, type ToolStory } from "../src/index.ts";
import { fixture } from "./fixture.ts";

const GIB = 2 ** 30;

/** A machine whose nvidia-smi answers a query and a listing, and knows the links of four GPUs. */
function machine(query: ToolStory, list: ToolStory = { exitCode: 1 }, more: Partial<MemoryMachine> = {}) {
  const topology = fixture("nvidia-smi-topo-m-4xL40S-pairs.txt");
  const answers: Record<string, ToolStory> = { "-L": list, topo: topology, "-q": { exitCode: 1 } };
  return memoryProbe({ ...more, tools: { "nvidia-smi": ([first]) => answers[first!] ?? query } });
}

test("GPUs of a healthy machine are devices with identity, type, memory and NUMA node", async () => {
  const probe = machine(fixture("nvidia-smi-query-4xL40S.csv"), undefined, {
    files: {
      "/sys/bus/pci/devices/0000:a1:00.0/numa_node": "1\n",
      "/sys/bus/pci/devices/0000:21:00.0/numa_node": "-1\n",
    },
  });
  const found = await nvidia.fingerprint(probe);
  expect(found).toMatchObject({
    vendor: "nvidia",
    state: "ok",
    tool: "nvidia-smi",
    version: "570.86.15",
    warnings: [],
  });
  expect(found.devices[0]).toEqual({
    uuid: "GPU-5a10c0de-0a01-4b1d-9c00-0000000000a0",
    index: 0,
    resource: "GPU",
    vendor: "nvidia",
    model: "NVIDIA L40S",
    acceleratorType: "L40S",
    memoryBytes: 46_068 * 1_048_576,
    pciAddress: "0000:21:00.0",
    cpuAffinity: "0-15,32-47",
    // The kernel says −1, the tool says 0.
    numaNode: 0,
    health: "ok",
    lockName: "GPU-5a10c0de-0a01-4b1d-9c00-0000000000a0",
  });
  expect(found.devices[2]).toMatchObject({
    numaNode: 1,
    health: "unhealthy",
    healthReason: "3 uncorrected ECC errors",
  });
  expect(probe.calls).toHaveLength(2);
});

test("a GPU in MIG mode is no whole device; its MIG devices are partitions", async () => {
  const found = await nvidia.fingerprint(
    machine(fixture("nvidia-smi-query-2xA30-mig.csv"), fixture("nvidia-smi-L-2xA30-mig.txt")),
  );
  expect(found.devices.map(({ index }) => index)).toEqual([0]);
  expect(found.partitions.map(({ uuid, model }) => [uuid, model])).toEqual([
    ["MIG-6b20c0de-0b02-4b1d-9c00-0000000001b1", "NVIDIA A30 MIG 2g.12gb"],
    ["MIG-GPU-6b20c0de-0b02-4b1d-9c00-0000000000b1/5/0", "NVIDIA A30 MIG 1g.6gb+me"],
  ]);
  expect(found.partitions[1]!.lockName).not.toContain("/");
  expect(found.unusable).toMatchObject([{ index: 1, uuid: "GPU-6b20c0de-0b02-4b1d-9c00-0000000000b1" }]);
});

test("without the listing a GPU in MIG mode is still not offered", async () => {
  const found = await nvidia.fingerprint(machine(fixture("nvidia-smi-query-2xA30-mig.csv"), { end: "timeout" }));
  expect(found.devices.map(({ index }) => index)).toEqual([0]);
  expect(found.warnings.join()).toContain("MIG devices are not known");
});

test("a driver that does not know the newer fields is asked again with the old ones", async () => {
  const probe = memoryProbe({
    tools: {
      "nvidia-smi": ([query]) => {
        if (query === "-L") return "GPU 0: Tesla K80 (UUID: GPU-aaaa1111)\n";
        return query?.includes("mig.mode")
          ? { exitCode: 2, stdout: 'Field "mig.mode.current" is not a valid field to query.\n' }
          : "index, uuid, name, memory.total [MiB], driver_version\n0, GPU-aaaa1111, Tesla K80, 11441 MiB, 418.40.04\n";
      },
    },
  });
  const found = await nvidia.fingerprint(probe);
  expect(found.devices).toMatchObject([{ uuid: "GPU-aaaa1111", acceleratorType: "K80", health: "ok" }]);
  expect(probe.calls).toHaveLength(3);
});

test("unified memory is the host's, and a warning says so", async () => {
  const files = { "/proc/meminfo": "MemTotal:       125829120 kB\nMemFree: 1 kB\n" };
  const found = await nvidia.fingerprint(machine(fixture("nvidia-smi-query-unified.csv"), undefined, { files }));
  expect(found.devices).toMatchObject([{ memoryBytes: 120 * GIB, acceleratorType: "GB10" }]);
  expect(found.warnings).toEqual(["GPU 0 reports no memory of its own: it shares the host's"]);
});

test("faulty GPUs are named, the others are offered", async () => {
  const found = await nvidia.fingerprint(machine({ stdout: fixture("nvidia-smi-query-one-faulty.csv"), exitCode: 0 }));
  expect(found.state).toBe("ok");
  expect(found.devices.map(({ index, health }) => [index, health])).toEqual([
    [0, "ok"],
    [2, "unhealthy"],
  ]);
  expect(found.unusable).toMatchObject([{ index: 1, pciAddress: "0000:c4:00.0" }]);
});

test.each<[string, ToolStory, string]>([
  [
    "the driver is not loaded",
    { exitCode: 9, stdout: "NVIDIA-SMI has failed because it couldn't communicate\n" },
    "PROBE_FAILED",
  ],
  [
    "library and driver differ",
    { exitCode: 18, stdout: "Failed to initialize NVML: Driver/library version mismatch\n" },
    "PROBE_FAILED",
  ],
  [
    "only a faulty GPU is named",
    { exitCode: 255, stdout: "Unable to determine the device handle for GPU1: 0000:34:00.0: Unknown Error\n" },
    "PROBE_FAILED",
  ],
  ["F35: it hangs", { end: "timeout", message: "nvidia-smi was killed after 5000 ms" }, "PROBE_TIMEOUT"],
  ["B39: it floods", { end: "flooded" }, "PROBE_OUTPUT_LIMIT"],
  ["it cannot be killed", { end: "stuck" }, "PROBE_STUCK"],
  ["F35: it garbles", { stdout: "\u0000\u0001garbage" }, "PROBE_UNREADABLE"],
  ["B39: it prints nothing", "", "PROBE_UNREADABLE"],
])("when %s, the devices are unknown, not zero", async (_case, story, code) => {
  const found = await nvidia.fingerprint(machine(story));
  expect(found).toMatchObject({ state: "unknown", devices: [], error: { code } });
});

test("no tool and no device file, or the tool's word, means surely none", async () => {
  expect((await nvidia.fingerprint(memoryProbe({}))).state).toBe("none");
  expect((await nvidia.fingerprint(machine({ exitCode: 6, stdout: "No devices were found\n" }))).state).toBe("none");
});

test("device files without a tool, or a /dev that cannot be read, mean unknown", async () => {
  const files = memoryProbe({ folders: { "/dev": ["null", "nvidia0", "nvidiactl"] } });
  expect(await nvidia.fingerprint(files)).toMatchObject({ state: "unknown", error: { code: "PROBE_MISSING" } });
  const closed = memoryProbe({ folders: { "/dev": null } });
  expect(await nvidia.fingerprint(closed)).toMatchObject({ state: "unknown", error: { code: "PROBE_MISSING" } });
});

test("an aborted probe is unknown", async () => {
  const found = await nvidia.fingerprint(machine(fixture("nvidia-smi-query-4xL40S.csv")), AbortSignal.abort());
  expect(found).toMatchObject({ state: "unknown", error: { code: "PROBE_ABORTED" } });
});

test("stats tell what the tool tells, for the devices asked; what is N/A is absent", async () => {
  const { devices } = await nvidia.fingerprint(machine(fixture("nvidia-smi-query-4xL40S.csv")));
  const report = await nvidia.stats(machine(fixture("nvidia-smi-query-stats.csv")), devices.slice(0, 2));
  expect(report.state).toBe("ok");
  expect(report.stats[0]).toEqual({
    uuid: devices[0]!.uuid,
    health: "ok",
    utilization: 0.87,
    memoryUsedBytes: 40_021 * 1_048_576,
    memoryTotalBytes: 46_068 * 1_048_576,
    temperatureC: 61,
    powerW: 288.14,
  });
  expect(report.stats[1]).not.toHaveProperty("powerW");
  expect(await nvidia.stats(machine({ end: "timeout" }), devices)).toMatchObject({ state: "unknown", stats: [] });
});

test("a MIG device lies where its GPU lies: NUMA node and CPUs from sysfs, else from the tool's matrix", async () => {
  const [query, list] = [fixture("nvidia-smi-query-2xA30-mig.csv"), fixture("nvidia-smi-L-2xA30-mig.txt")];
  const sysfs = "/sys/bus/pci/devices/0000:b3:00.0";
  const files = { [`${sysfs}/numa_node`]: "1\n", [`${sysfs}/local_cpulist`]: "32-63\n" };
  const placed = await nvidia.fingerprint(machine(query, list, { files }));
  const where = placed.partitions.map(({ numaNode, cpuAffinity, pciAddress }) => [numaNode, cpuAffinity, pciAddress]);
  expect(where).toEqual([
    [1, "32-63", undefined],
    [1, "32-63", undefined],
  ]);
  const matrix = "\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\nGPU0\t X \tSYS\t0-15\t0\nGPU1\tSYS\t X \t16-31\t1\n";
  const answers: Record<string, ToolStory> = { "-L": list, topo: matrix, "-q": { exitCode: 1 } };
  const told = await nvidia.fingerprint(
    memoryProbe({ tools: { "nvidia-smi": ([first]) => answers[first!] ?? query } }),
  );
  expect(told.partitions[0]).toMatchObject({ numaNode: 1, cpuAffinity: "16-31" });
  expect(told.links).toEqual([]);
});
