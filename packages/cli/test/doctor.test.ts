import { expect, test } from "vitest";
import { doctorLines } from "../src/doctor/doctor-lines.ts";
import { type DoctorReport, problemsOf, verdictOf } from "../src/doctor/doctor-report.ts";
import { limitReports, OPEN_FILES_NEEDED, SHM_NEEDED_BYTES } from "../src/doctor/machine-limits.ts";
import { parseTcpTable } from "../src/doctor/tcp-table.ts";
import { topologyReport } from "../src/doctor/topology-report.ts";

const LIMITS = `Limit                     Soft Limit           Hard Limit           Units
Max processes             unlimited            unlimited            processes
Max open files            1024                 1048576              files
Max locked memory         8388608              8388608              bytes     
`;

test("limits that are too small say what to do; those that are not known are not judged", () => {
  const small = limitReports({
    limits: LIMITS,
    shmBytes: SHM_NEEDED_BYTES - 1,
    shmFreeBytes: 0,
    cgroup: { "pids.max": "512", "memory.limit_in_bytes": "9223372036854771712", "cpu.max": "max 100000" },
  });
  expect(small).toEqual([
    { name: "open files", value: "1024", short: `below ${OPEN_FILES_NEEDED}: raise it with ulimit -n` },
    { name: "processes", value: "unlimited" },
    { name: "locked memory", value: "8388608" },
    { name: "/dev/shm", value: "1.0 GiB, 0.0 GiB free", short: expect.stringContaining("--shm-size") },
    { name: "cgroup pids.max", value: "512" },
    { name: "cgroup memory.limit_in_bytes", value: "unlimited" },
    { name: "cgroup cpu.max", value: "unlimited" },
  ]);
  const unknown = limitReports({ limits: "", shmBytes: undefined, shmFreeBytes: undefined, cgroup: {} });
  expect(unknown.map(({ value }) => value)).toEqual(["not known", "not known", "not known", "missing"]);
});

test("what listens, from the kernel's tables; other states and garbage are left out", () => {
  const text = [
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    "   0: 0100007F:2049 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0",
    "   1: 0100007F:2049 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0 100 0 0 10 0",
    "   2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 79 1 0",
    "   3: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 80 1 0",
    "   4: B80D0120000000000000000001000000:0052 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 81 1 0",
    "garbage",
  ].join("\n");
  expect(parseTcpTable(text)).toEqual([
    { address: "127.0.0.1", port: 8_265, inode: 77 },
    { address: "[::1]", port: 80, inode: 79 },
    { address: "127.0.0.1", port: 81, inode: 80 },
    { address: "[2001:db8:0:0:0:0:0:1]", port: 82, inode: 81 },
  ]);
});

test("the topology as a table", () => {
  const device = { resource: "GPU", vendor: "v", model: "m", health: "ok" as const };
  const devices = [
    { ...device, uuid: "a", index: 0, numaNode: 0, cpuAffinity: "0-15,32-47" },
    { ...device, uuid: "b", index: 1, numaNode: 0 },
    { ...device, uuid: "c", index: 2 },
  ];
  const links = { kinds: [{ name: "NV18", score: 1_018, fabric: true }], pairs: "0.." };
  expect(topologyReport(devices, links)).toEqual({
    names: ["GPU0", "GPU1", "GPU2"],
    links: [
      ["-", "NV18", "?"],
      ["NV18", "-", "?"],
      ["?", "?", "-"],
    ],
    numaNodes: [0, 0, undefined],
    cpuAffinity: ["0-15,32-47", undefined, undefined],
  });
  expect(topologyReport(devices, undefined)).toBeUndefined();
});

const gpu = { uuid: "gpu-3", index: 3, resource: "GPU", model: "H100", used: 0, owners: [] };
const sick: Omit<DoctorReport, "problems" | "verdict"> = {
  ...{ version: "0", at: "2026-01-01T00:00:00.000Z" },
  host: { name: "h", node: "v26", kernel: "Linux", cpus: 2, memoryBytes: 2 ** 30, cgroup: "v2", python: undefined },
  detection: {
    vendors: [
      {
        ...{ vendor: "nvidia", resource: "GPU", state: "unknown", tool: "nvidia-smi", elapsedMs: 5_001, devices: 0 },
        ...{
          error: { code: "PROBE_TIMEOUT", message: "nvidia-smi did not end within 5000 ms" },
          warnings: [],
          unusable: [],
        },
      },
      {
        vendor: "amd",
        resource: "GPU",
        state: "none",
        tool: "rocm-smi",
        elapsedMs: 0,
        devices: 0,
        warnings: [],
        unusable: [],
      },
    ],
    devices: [{ ...gpu, state: "unhealthy", reason: "Xid 79" }],
    warnings: [],
    elapsedMs: 5_001,
  },
  limits: [{ name: "/dev/shm", value: "0.1 GiB", short: "below 1073741824: raise it" }],
  daemons: [{ kind: "raylet", pid: 7, runs: false, state: "ready" }],
  listeners: [{ address: "127.0.0.1", port: 8_265, pid: 9, process: "node", daemon: "head" }],
  cluster: {
    state: "up",
    address: "ws://127.0.0.1:8265",
    nodes: [
      {
        name: "n",
        id: "node_n",
        state: "ALIVE",
        devices: [{ ...gpu, state: "busy", reason: "foreign pid 77 (python3)" }],
      },
      { name: "old", id: "node_o", state: "DEAD", devices: [{ ...gpu, state: "unhealthy" }] },
    ],
  },
};

test("everything that is wrong is named once; a dead node's devices are nobody's problem", () => {
  expect(problemsOf(sick)).toEqual([
    "nvidia: devices are not known: nvidia-smi did not end within 5000 ms",
    "here: GPU 3 is unhealthy: Xid 79",
    "n: GPU 3 is busy: foreign pid 77 (python3)",
    'the raylet 7 that was started here is gone without a goodbye; "whipray stop" clears up',
    "python3 is not on the PATH: engines cannot start",
    "/dev/shm: below 1073741824: raise it",
  ]);
  const problems = problemsOf(sick);
  const text = doctorLines({ ...sick, problems, verdict: verdictOf(sick, problems) }, (word) => word).join("\n");
  for (const part of [
    /nvidia +unknown +nvidia-smi +- +5001 ms +nvidia-smi did not end/,
    /none of: amd/,
    /127\.0\.0\.1:8265 +9 +node \(our head\)/,
    /n GPU 3 is busy: foreign pid 77/,
    /Verdict: 6 things are wrong; 1 GPU here, a cluster of 1 node with 1 GPU is up/,
  ])
    expect(text).toMatch(part);
});
