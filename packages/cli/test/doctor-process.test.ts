import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import type { DoctorReport } from "../src/doctor/doctor-report.ts";

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const home = mkdtempSync(join(tmpdir(), "wd-"));
const TEST_MS = 90_000;

function whipray(
  args: string[],
  path = process.env["PATH"]!,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { WHIPRAY_TEST_RUN: mark } = process.env;
  const env = {
    PATH: path,
    HOME: home,
    WHIPRAY_RUNTIME_DIR: join(home, "run"),
    ...(mark && { WHIPRAY_TEST_RUN: mark }),
  };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [MAIN, ...args], { env }, (_, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, stdout, stderr });
    });
  });
}

async function doctor(args: string[] = [], path?: string): Promise<DoctorReport & { code: number }> {
  const { code, stdout } = await whipray(["doctor", "--json", ...args], path);
  return { ...JSON.parse(stdout), code };
}

afterAll(async () => {
  await whipray(["stop", "--force"]);
  rmSync(home, { recursive: true, force: true });
}, TEST_MS);

test(
  "without a cluster: what was looked for and how, limits, listeners, and a verdict",
  async () => {
    const report = await doctor(["--fake-devices", "8xH100"]);
    expect(report.cluster).toEqual({ state: "none", nodes: [] });
    expect(report.detection.vendors.find(({ vendor }) => vendor === "nvidia")).toMatchObject({
      state: "ok",
      tool: "nvidia-smi",
      version: expect.any(String),
      devices: 8,
    });
    expect(report.topology?.links[0]?.slice(0, 3)).toEqual(["-", "NV18", "NODE"]);
    expect(report.limits.map(({ name }) => name)).toContain("/dev/shm");
    expect(report.verdict).toContain("8 GPU (imagined: 8xH100) here, no cluster is up");
  },
  TEST_MS,
);

test(
  "a tool that fails is a problem with its words, never zero devices, and the exit code says so (device rule 9)",
  async () => {
    const bin = join(home, "bin");
    mkdirSync(bin);
    writeFileSync(join(bin, "nvidia-smi"), "#!/bin/sh\necho 'NVIDIA-SMI has failed' >&2\nexit 9\n");
    chmodSync(join(bin, "nvidia-smi"), 0o755);
    const report = await doctor([], `${bin}:${process.env["PATH"]}`);
    expect(report.code).toBe(1);
    expect(report.detection.vendors.find(({ vendor }) => vendor === "nvidia")?.state).toBe("unknown");
    expect(report.problems[0]).toMatch(/^nvidia: devices are not known: .*NVIDIA-SMI has failed/s);
  },
  TEST_MS,
);

test.each<{ name: string; total: Record<string, number>; links: string; verdict: string }>([
  { name: "8xH100", total: { GPU: 8 }, links: "- NV18 NODE NODE SYS SYS SYS SYS", verdict: "8 GPU" },
  { name: "8x910B3", total: { NPU: 8 }, links: "- HCCS HCCS HCCS HCCS HCCS HCCS HCCS", verdict: "8 NPU" },
  { name: "mixed", total: { GPU: 4, NPU: 4 }, links: "- NV18 SYS SYS ? ? ? ?", verdict: "4 GPU, 4 NPU" },
])(
  "a node with --fake-devices $name is started from the command line; status and doctor show its devices, links and daemons",
  async ({ name, total, links, verdict }) => {
    const start = ["start", "--head", "--port", "0", "--fake-devices", name, "--node-name", "m", "--json"];
    expect(await whipray(start)).toMatchObject({ code: 0 });
    const status = JSON.parse((await whipray(["status", "--json"])).stdout);
    const node = status.nodes.find(({ state }: { state: string }) => state === "ALIVE");
    for (const [resource, count] of Object.entries(total))
      expect(node.resources[resource]).toEqual({ used: 0, total: count });
    expect(node.devices).toHaveLength(8);
    expect(node.devices[0]).toMatchObject({ state: "ok", owners: [], memoryTotalBytes: expect.any(Number) });
    const report = await doctor();
    expect(report.cluster.state).toBe("up");
    const living = report.cluster.nodes.filter(({ state }) => state === "ALIVE");
    expect(living.map((one) => [one.name, one.topology?.links[0]?.join(" ")])).toEqual([["m", links]]);
    // What was started is what is looked at here.
    expect(report.detection).toMatchObject({ fake: name, vendors: expect.anything() });
    expect(report.detection.devices).toHaveLength(8);
    const daemons = report.daemons.map(({ kind, runs, fakeDevices }) => `${kind} ${runs} ${fakeDevices ?? "-"}`);
    expect(daemons.sort()).toEqual(["head true -", `raylet true ${name}`]);
    const ours = report.listeners.filter(({ daemon }) => daemon !== undefined).map(({ daemon }) => daemon);
    expect(ours.sort()).toEqual(["head", "raylet"]);
    expect(report.verdict).toContain(`${verdict} (imagined: ${name}) here, a cluster of 1 node with ${verdict} is up`);
    const text = (await whipray(["doctor"])).stdout;
    expect(text).toContain(`of the imagined machine ${name}`);
    expect(text).toMatch(/Topology\n +[GN]PU0/);
    expect(await whipray(["stop"])).toMatchObject({ code: 0 });
  },
  TEST_MS,
);

test(
  "F32: a second raylet that offers the same devices is refused and told who has them; doctor says why it waits; it joins when that one is gone",
  async () => {
    const devices = ["--fake-devices", "8xH100", "--node-name", "same"];
    const head = JSON.parse((await whipray(["start", "--head", "--port", "0", "--json", ...devices])).stdout);
    const join = ["start", "--address", head.address, "--join-token-file", head.joinTokenFile, "--second-raylet"];
    const second = await whipray([...join, ...devices, "--wait-seconds", "5"]);
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(/device GPU-\S+ of node node_\w+ is already offered by node .*\[DUPLICATE_DEVICE\]/);
    expect(second.stderr).toContain(head.nodeId);
    const waits = await doctor();
    expect(waits.problems.join("\n")).toMatch(/the raylet \d+ is not ready: device GPU-.*is already offered/);
    const [first, other] = ["ready", "starting"].map((state) => {
      return waits.daemons.find((daemon) => daemon.kind === "raylet" && daemon.state === state)!.pid;
    });
    process.kill(first!, "SIGTERM");
    const ready = async () => {
      const { daemons } = await doctor();
      return daemons.filter(({ kind, state }) => kind === "raylet" && state === "ready").map(({ pid }) => pid);
    };
    await expect.poll(ready, { timeout: 40_000 }).toEqual([other]);
    await expect
      .poll(async () => (await doctor()).verdict, { timeout: 20_000 })
      .toContain("a cluster of 1 node with 8 GPU is up");
    expect(await whipray(["stop"])).toMatchObject({ code: 0 });
  },
  TEST_MS,
);

test("an imagined machine that there is not is refused with the names", async () => {
  const refused = await whipray(["start", "--head", "--fake-devices", "9xH100"]);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain("8x910B3");
});

test(
  "a reader that has read enough ends doctor without a word",
  async () => {
    const command = `${process.execPath} ${MAIN} doctor --fake-devices 8xH100 | head -n 1`;
    const env = { PATH: process.env["PATH"]!, HOME: home, WHIPRAY_RUNTIME_DIR: join(home, "run") };
    const said = await new Promise<string>((resolve) => {
      execFile("/bin/sh", ["-c", command], { env }, (_, stdout, stderr) => resolve(`${stdout}|${stderr}`));
    });
    expect(said).toMatch(/^Machine .*\n\|$/);
  },
  TEST_MS,
);
