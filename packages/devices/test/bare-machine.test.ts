import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { builtinPlugins, detectDevices, type Environment, type Probe, systemProbe } from "../src/index.ts";
import { fixturePath } from "./fixture.ts";

/** A folder that stands for `/`, with these tools in its `bin` and these files. */
async function machine(tools: Record<string, string>, files: Record<string, string>) {
  const root = await mkdtemp(join(tmpdir(), "whipray-devices-"));
  const write = async (path: string, text: string) => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  };
  for (const [path, text] of Object.entries(files)) await write(path, text);
  for (const [tool, script] of Object.entries(tools)) {
    await write(`bin/${tool}`, `#!/bin/sh\n${script}\n`);
    await chmod(join(root, "bin", tool), 0o755);
  }
  const environment: Environment = { PATH: `${join(root, "bin")}:/usr/bin:/bin` };
  const probe = systemProbe({ root, environment, machine: "host-1" });
  const ran: string[] = [];
  const watched: Probe = {
    machine: probe.machine,
    list: (folder) => probe.list(folder),
    read: (path) => probe.read(path),
    users: (paths, lookers) => probe.users(paths, lookers),
    async run(argv, signal) {
      const outcome = await probe.run(argv, signal);
      if (outcome.end !== "missing") ran.push(argv[0]);
      return outcome;
    },
  };
  const find = (more: Environment = {}) =>
    detectDevices({ plugins: builtinPlugins, probe: watched, environment: { ...environment, ...more }, nodeName: "n" });
  return { find, ran, probe: watched, [Symbol.asyncDispose]: () => rm(root, { recursive: true }) };
}

/** Shell that prints a sample. */
const print = (sample: string) => `cat '${fixturePath(sample)}'`;

test("on a machine without accelerators every vendor is surely absent, and no tool is run", async () => {
  await using bare = await machine({}, { "dev/null": "", "sys/class/drm/version": "drm 1.1.0\n" });
  const found = await bare.find();
  expect(found).toMatchObject({ devices: [], warnings: [] });
  expect(found.fingerprints.every(({ state }) => state === "none")).toBe(true);
  for (const plugin of builtinPlugins) {
    expect(await plugin.stats(bare.probe, [])).toMatchObject({ state: "ok", stats: [] });
    expect((await plugin.processes(bare.probe, [])).processes).toEqual([]);
  }
  expect(bare.ran).toEqual([]);
});

test("real tools on the PATH and device files under a root: three families on one node", async () => {
  await using host = await machine(
    {
      "nvidia-smi": `case "$1" in topo) ${print("nvidia-smi-topo-m-4xL40S-pairs.txt")};; -L) exit 1;; *) ${print("nvidia-smi-query-4xL40S.csv")};; esac`,
      "npu-smi": `case "$*" in "info -m") ${print("npu-smi-info-m-2x910B4.txt")};; "info -t topo") ${print("npu-smi-info-t-topo-2x910B4.txt")};; *) ${print("npu-smi-info-2x910B4.txt")};; esac`,
      cnmon: print("cnmon-2xMLU590.txt"),
    },
    { "dev/davinci0": "", "dev/davinci1": "", "sys/bus/pci/devices/0000:a1:00.0/local_cpulist": "8-15\n" },
  );
  const { counts, devices, links } = await host.find({ CUDA_VISIBLE_DEVICES: "2,0" });
  expect(counts).toEqual({ GPU: 4, NPU: 2 });
  expect(devices.map(({ vendor, index }) => `${vendor} ${index}`)).toEqual([
    ...["nvidia 2", "nvidia 0", "cambricon 0", "cambricon 1", "ascend 0", "ascend 1"],
  ]);
  expect(devices[0]?.cpuAffinity).toBe("8-15");
  expect(devices[4]?.uuid).toBe("NPU-2-0-0@host-1");
  expect(links.map(({ kind }) => kind)).toEqual(["SYS", "HCCS"]);
});

test("a tool that is there and fails makes its vendor unknown, and leaves the others", async () => {
  await using host = await machine({ "nvidia-smi": "exit 9", cnmon: print("cnmon-2xMLU590.txt") }, {});
  const { counts, fingerprints } = await host.find();
  expect(counts).toEqual({ GPU: 2 });
  expect(fingerprints.find(({ vendor }) => vendor === "nvidia")).toMatchObject({
    state: "unknown",
    error: { code: "PROBE_FAILED" },
  });
});
