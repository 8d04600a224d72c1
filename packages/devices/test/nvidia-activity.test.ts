import { expect, test } from "vitest";
import { type Device, memoryProbe, nvidia, type ToolStory } from "../src/index.ts";
import { parseNvidiaXml, parseXids } from "../src/vendors/nvidia-mig.ts";
import { WarningList } from "../src/warning-list.ts";
import { fixture, hardwareSample } from "./fixture.ts";

const MIB = 1_048_576;

/** nvidia-smi with these answers by its first argument up to `=`, and a kernel's log. */
function machine(answers: Record<string, ToolStory>, log: ToolStory = { exitCode: 1, stderr: "not permitted" }) {
  const fallback: ToolStory = { exitCode: 2 };
  return memoryProbe({
    tools: { "nvidia-smi": ([first]) => answers[first!.split("=")[0]!] ?? fallback, dmesg: log },
  });
}

async function gpus(): Promise<readonly Device[]> {
  return (await nvidia.fingerprint(machine({ "--query-gpu": fixture("nvidia-smi-query-4xL40S.csv") }))).devices;
}

test("links between GPUs are part of the fingerprint, by UUID", async () => {
  const found = await nvidia.fingerprint(
    machine({
      "--query-gpu": fixture("nvidia-smi-query-4xL40S.csv"),
      topo: fixture("nvidia-smi-topo-m-4xL40S-pairs.txt"),
    }),
  );
  const [first, second] = found.devices;
  expect(found.links).toHaveLength(6);
  expect(found.links[0]).toEqual({ from: first!.uuid, to: second!.uuid, kind: "NVLINK", lanes: 4 });
});

test("without a matrix the GPUs are there, and a warning says that their links are not known", async () => {
  const found = await nvidia.fingerprint(machine({ "--query-gpu": fixture("nvidia-smi-query-4xL40S.csv") }));
  expect(found).toMatchObject({ state: "ok", links: [], devices: { length: 4 } });
  expect(found.warnings.join()).toContain("links between GPUs are not known");
});

test("F33: processes are listed by device, also those that are not ours and those without a name", async () => {
  const devices = await gpus();
  const report = await nvidia.processes(
    machine({ "--query-compute-apps": fixture("nvidia-smi-compute-apps.csv") }),
    devices,
  );
  expect(report).toMatchObject({ state: "ok", warnings: [] });
  expect(report.processes).toEqual([
    { uuid: devices[0]!.uuid, pid: 40_211, name: "/opt/venv/bin/python3", memoryUsedBytes: 39_800 * MIB },
    { uuid: devices[0]!.uuid, pid: 40_377, name: "sglang::scheduler, tp 0" },
    { uuid: devices[2]!.uuid, pid: 911, name: "[Not Found]", memoryUsedBytes: 512 * MIB },
  ]);
  const idle = machine({ "--query-compute-apps": "gpu_uuid, pid, used_gpu_memory [MiB], process_name\n" });
  expect(await nvidia.processes(idle, devices)).toMatchObject({ state: "ok", processes: [] });
});

test.each<[string, ToolStory]>([
  ["hangs", { end: "timeout" }],
  ["fails", { exitCode: 9 }],
  ["garbles", "\u0000garbage"],
  ["prints nothing", ""],
])("processes are unknown, not none, when the tool %s", async (_case, story) => {
  const report = await nvidia.processes(machine({ "--query-compute-apps": story }), await gpus());
  expect(report).toMatchObject({ state: "unknown", processes: [], error: { code: expect.any(String) } });
});

test("7.2 item 7: grave Xids of the kernel's log make a GPU unhealthy, others and other devices' do not", async () => {
  const devices = await gpus();
  const answers = { "--query-gpu": fixture("nvidia-smi-query-4xL40S.csv") };
  const { stats } = await nvidia.stats(machine(answers, fixture("dmesg-xid.txt")), devices);
  expect(stats.map(({ health, xids }) => [health, xids])).toEqual([
    ["unhealthy", [79, 94]],
    ["ok", undefined],
    ["unhealthy", undefined],
    ["ok", undefined],
  ]);
  expect(stats[0]?.healthReason).toBe("Xid 79, 94 in the kernel's log");
  expect(stats[2]).toMatchObject({ eccErrors: 3, healthReason: "3 uncorrected ECC errors" });
});

test("each of the Xids 48, 63, 79, 94 and 95 counts once, and no other", () => {
  const line = (xid: number) => `[1.0] NVRM: Xid (PCI:00000000:C1:00): ${xid}, pid=1, text\n`;
  const all = [13, 31, 43, 48, 63, 63, 64, 79, 94, 95, 119].map(line).join("");
  expect(parseXids(all, new WarningList())).toEqual(new Map([["0000:c1:00", [48, 63, 79, 94, 95]]]));
});

test("F34: a GPU that has fallen off the bus is told by its place, with the tool's words", async () => {
  const devices = await gpus();
  const rows = fixture("nvidia-smi-query-4xL40S.csv").split("\n");
  const fallen = "Unable to determine the device handle for GPU1: 0000:41:00.0: Unknown Error";
  const stdout = [fallen, ...rows.filter((row) => !row.startsWith("1,"))].join("\n");
  const { stats } = await nvidia.stats(machine({ "--query-gpu": { stdout, exitCode: 0 } }), devices);
  expect(stats[1]).toMatchObject({ uuid: devices[1]!.uuid, health: "unhealthy" });
  expect(stats[1]?.healthReason).toContain("Unknown Error");
});

test("MIG devices have memory, processes and errors of their own", async () => {
  const answers = {
    "--query-gpu": fixture("nvidia-smi-query-2xA30-mig.csv"),
    "--query-compute-apps": "gpu_uuid, pid, used_gpu_memory [MiB], process_name\n",
    "-L": fixture("nvidia-smi-L-2xA30-mig.txt"),
    "-q": fixture("nvidia-smi-q-x-2xA30-mig.xml"),
  };
  const { partitions } = await nvidia.fingerprint(machine(answers));
  expect(partitions.map(({ memoryBytes }) => memoryBytes)).toEqual([11_968 * MIB, 5_952 * MIB]);
  const { stats } = await nvidia.stats(machine(answers), partitions);
  expect(stats).toMatchObject([
    { uuid: partitions[0]!.uuid, health: "ok", memoryUsedBytes: 6_012 * MIB, eccErrors: 0 },
    { uuid: partitions[1]!.uuid, health: "unhealthy", healthReason: "2 uncorrected ECC errors" },
  ]);
  const { processes } = await nvidia.processes(machine(answers), partitions);
  expect(processes).toEqual([
    { uuid: partitions[0]!.uuid, pid: 7_741, name: "python3 train.py", memoryUsedBytes: 6_000 * MIB },
  ]);
});

test.runIf(hardwareSample("README.md"))("the shared XML sample has two MIG devices; its DTD is never resolved", () => {
  const { migs, processes } = parseNvidiaXml(hardwareSample("nvidia-smi-q-x-a100-mig.xml")!, new WarningList());
  expect(migs).toMatchObject([
    { index: 0, gpuInstance: 3, computeInstance: 0, memoryBytes: 19_968 * MIB, memoryUsedBytes: 12 * MIB },
    { index: 1, gpuInstance: 4, computeInstance: 0, memoryBytes: 19_968 * MIB, memoryUsedBytes: 12 * MIB },
  ]);
  expect(processes).toEqual([]);
});

test("XML with entities, depth or a cut end is read as far as it goes", () => {
  const bomb = '<!DOCTYPE a [<!ENTITY x "&x;&x;">]><nvidia_smi_log><gpu><uuid>&x;</uuid></gpu></nvidia_smi_log>';
  expect(parseNvidiaXml(bomb, new WarningList())).toEqual({ migs: [], processes: [] });
  expect(parseNvidiaXml("<a>".repeat(100_000), new WarningList())).toEqual({ migs: [], processes: [] });
  const warnings = new WarningList();
  const whole = fixture("nvidia-smi-q-x-2xA30-mig.xml");
  parseNvidiaXml(whole.slice(0, whole.indexOf("<uuid>")), warnings);
  expect(warnings.list()).toEqual(["XML ends inside of <gpu>"]);
});
