import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, onTestFinished, test } from "vitest";
import type { DeviceStatus } from "../src/device-status.ts";
import type { DoctorReport } from "../src/doctor/doctor-report.ts";

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const home = mkdtempSync(join(tmpdir(), "wv-"));
const bin = join(home, "bin");
const TEST_MS = 120_000;
const START = ["start", "--head", "--port", "0", "--json"];
const uuidOf = (index: number) => `GPU-0000000${index}-aaaa-4bbb-8ccc-dddddddddddd`;
const MIG = "MIG-6b20c0de-0b02-4b1d-9c00-0000000001b1";
const FIELDS =
  "index, uuid, name, memory.total [MiB], driver_version, pci.bus_id, mig.mode.current, utilization.gpu [%], memory.used [MiB]";
const APPS = "gpu_uuid, pid, used_gpu_memory [MiB], process_name";

/** A machine of three H100, the last one split, whose nvidia-smi says what lies in files. */
function machine(apps: string[] = []): void {
  mkdirSync(bin, { recursive: true });
  const row = (index: number) => {
    const mig = index === 2 ? "Enabled" : "Disabled";
    return `${index}, ${uuidOf(index)}, NVIDIA H100 80GB HBM3, 81559 MiB, 570.86.15, 00000000:1${index}:00.0, ${mig}, 7 %, 2048 MiB`;
  };
  writeFileSync(join(bin, "table"), [FIELDS, row(0), row(1), row(2), ""].join("\n"));
  writeFileSync(join(bin, "apps"), [APPS, ...apps, ""].join("\n"));
  const gpus = [0, 1, 2].map((index) => `GPU ${index}: NVIDIA H100 80GB HBM3 (UUID: ${uuidOf(index)})`);
  writeFileSync(join(bin, "list"), [...gpus, `  MIG 3g.40gb     Device  0: (UUID: ${MIG})`, ""].join("\n"));
  const script = `#!/bin/sh
case "$1" in
  -L) cat ${bin}/list ;;
  --query-compute-apps*) cat ${bin}/apps ;;
  --query-gpu*) cat ${bin}/table ;;
  *) exit 1 ;;
esac
`;
  writeFileSync(join(bin, "nvidia-smi"), script, { mode: 0o755 });
}

function whipray(args: string[], more: Record<string, string> = {}) {
  const { WHIPRAY_TEST_RUN: mark } = process.env;
  const own = {
    PATH: `${bin}:${process.env["PATH"]}`,
    HOME: home,
    WHIPRAY_RUNTIME_DIR: join(home, "run"),
    WHIPRAY_DEVICE_LOCKS: join(home, "locks"),
  };
  const env = { ...own, ...(mark && { WHIPRAY_TEST_RUN: mark }), ...more };
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(process.execPath, [MAIN, ...args], { env }, (_, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, stdout, stderr });
    });
  });
}

async function devicesOfStatus(): Promise<DeviceStatus[]> {
  const { nodes } = JSON.parse((await whipray(["status", "--json"])).stdout);
  return nodes.find(({ state }: { state: string }) => state === "ALIVE").devices;
}

afterAll(async () => {
  await whipray(["stop", "--force"]);
  rmSync(home, { recursive: true, force: true });
}, TEST_MS);

test.each([
  ["0,0", "is listed twice"],
  ["9", "is unknown here"],
  ["2", "in MIG mode"],
  ["no such thing", "is not a device index or UUID"],
])(
  "B41: whipray start with CUDA_VISIBLE_DEVICES=%j is refused with the entry and what to do; nothing is left running",
  async (value, rule) => {
    machine();
    const { code, stderr } = await whipray([...START, "--wait-seconds", "30"], { CUDA_VISIBLE_DEVICES: value });
    expect(code).not.toBe(0);
    expect(stderr).toContain(`CUDA_VISIBLE_DEVICES="${value}"`);
    expect(stderr).toContain(rule);
    expect(stderr).toContain("INVALID_VISIBLE_DEVICES");
    await whipray(["stop"]);
    const report = JSON.parse((await whipray(["doctor", "--json"])).stdout) as DoctorReport;
    expect(report.daemons.filter(({ runs }) => runs)).toEqual([]);
  },
  TEST_MS,
);

test.each<[env: Record<string, string>, flags: string[], uuids: string[]]>([
  [{ CUDA_VISIBLE_DEVICES: "1,0" }, [], [uuidOf(1), uuidOf(0)]],
  [{ CUDA_VISIBLE_DEVICES: "GPU-00000001" }, [], [uuidOf(1)]],
  [{ CUDA_VISIBLE_DEVICES: "" }, [], []],
  [{ CUDA_VISIBLE_DEVICES: MIG }, [], [MIG]],
  [{}, ["--num-gpus", "1"], [uuidOf(0)]],
])(
  "B41: whipray start with %j and flags %j offers %j, and status shows them",
  async (env, flags, uuids) => {
    machine();
    expect(await whipray([...START, ...flags], env)).toMatchObject({ code: 0 });
    const devices = await devicesOfStatus();
    expect(devices.map(({ uuid }) => uuid)).toEqual(uuids);
    for (const device of devices) expect(device).toMatchObject({ state: "ok", used: 0, owners: [] });
    expect(await whipray(["stop"])).toMatchObject({ code: 0 });
  },
  TEST_MS,
);

test(
  "doctor without a cluster sees who uses a device, and who holds its lock",
  async () => {
    const stranger = spawn("sleep", ["120"], { stdio: "ignore" });
    onTestFinished(() => void stranger.kill("SIGKILL"));
    machine([`${uuidOf(1)}, ${stranger.pid}, 100 MiB, sleep`]);
    const locks = join(home, "locks");
    mkdirSync(locks, { recursive: true });
    const path = join(locks, `whipray-${uuidOf(0)}.lock`);
    const script = `import fcntl, sys, time; f = open(sys.argv[1], "a"); fcntl.flock(f, fcntl.LOCK_EX); print("held", flush=True); time.sleep(120)`;
    const thief = spawn("python3", ["-c", script, path], { stdio: ["ignore", "pipe", "inherit"] });
    onTestFinished(() => void thief.kill("SIGKILL"));
    await new Promise((resolve) => thief.stdout.once("data", resolve));
    const { code, stdout } = await whipray(["doctor", "--json"]);
    expect(code).toBe(1);
    const { detection, problems } = JSON.parse(stdout) as DoctorReport;
    const held = `pid ${thief.pid} (python3`;
    expect(detection.devices).toMatchObject([
      {
        uuid: uuidOf(0),
        state: "locked",
        utilization: 0.07,
        memoryUsedBytes: 2 ** 31,
        lockedBy: expect.stringContaining(held),
      },
      { uuid: uuidOf(1), state: "busy", reason: `foreign pid ${stranger.pid} (sleep)`, pids: [stranger.pid] },
    ]);
    expect(problems).toEqual(
      expect.arrayContaining([
        expect.stringContaining(`here: GPU 0 is locked: its lock is held by ${held}`),
        `here: GPU 1 is busy: foreign pid ${stranger.pid} (sleep)`,
      ]),
    );
    const text = (await whipray(["doctor"])).stdout;
    expect(text).toMatch(/GPU 1 +NVIDIA H100 80GB HBM3 .* BUSY +2\.0\/79\.6 GiB +7 %/);
    expect(text).toContain(`GPU 0 is held by ${held}`);
  },
  TEST_MS,
);

test(
  "doctor names the lease that holds a lock, which is nothing wrong",
  async () => {
    machine();
    const locks = join(home, "locks");
    mkdirSync(locks, { recursive: true });
    const path = join(locks, `whipray-${MIG}.lock`);
    const owner = { cluster: "cluster_x", node: "node_y", raylet: "inc_r", lease: "lease_z", pid: 7 };
    writeFileSync(path, JSON.stringify(owner));
    const script = `import fcntl, sys, time; f = open(sys.argv[1], "a"); fcntl.flock(f, fcntl.LOCK_SH); print("held", flush=True); time.sleep(120)`;
    const guard = spawn("python3", ["-c", script, path], { stdio: ["ignore", "pipe", "inherit"] });
    onTestFinished(() => void guard.kill("SIGKILL"));
    await new Promise((resolve) => guard.stdout.once("data", resolve));
    const { stdout } = await whipray(["doctor", "--json"], { CUDA_VISIBLE_DEVICES: MIG });
    const { detection, problems } = JSON.parse(stdout) as DoctorReport;
    const lockedBy = "cluster_x node_y, lease lease_z (pid 7)";
    expect(detection.devices).toMatchObject([{ uuid: MIG, state: "ok", lockedBy }]);
    expect(problems.filter((problem) => problem.includes("GPU"))).toEqual([]);
  },
  TEST_MS,
);
