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
    expect(report.verdict).toContain("8 GPU here, no cluster is up");
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

test(
  "a fake machine is started by its name, and shown with its devices, links and daemons by status and doctor",
  async () => {
    const end = await whipray([
      "start",
      "--head",
      "--port",
      "0",
      "--fake-devices",
      "mixed",
      "--node-name",
      "m",
      "--json",
    ]);
    expect(end).toMatchObject({ code: 0 });
    const status = JSON.parse((await whipray(["status", "--json"])).stdout);
    expect(status.nodes[0].resources).toMatchObject({ GPU: { used: 0, total: 4 }, NPU: { used: 0, total: 4 } });
    expect(status.nodes[0].devices).toHaveLength(8);
    expect(status.nodes[0].devices[0]).toMatchObject({ state: "ok", owners: [], memoryTotalBytes: expect.any(Number) });
    const report = await doctor();
    expect(report.cluster).toMatchObject({ state: "up", nodes: [{ name: "m", state: "ALIVE" }] });
    expect(report.cluster.nodes[0]!.topology?.names).toHaveLength(8);
    expect(report.daemons.map(({ kind, runs }) => `${kind} ${runs}`).sort()).toEqual(["head true", "raylet true"]);
    const ours = report.listeners.filter(({ daemon }) => daemon !== undefined).map(({ daemon }) => daemon);
    expect(ours.sort()).toEqual(["head", "raylet"]);
    expect(await whipray(["start", "--head", "--fake-devices", "9xH100"])).toMatchObject({ code: 2 });
  },
  TEST_MS,
);
