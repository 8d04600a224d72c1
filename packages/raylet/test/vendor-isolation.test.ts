import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { delay, systemClock } from "@whipray/core";
import { builtinPlugins, type MemoryMachine } from "@whipray/devices";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { processesWith } from "../src/process-table.io.ts";
import { NODE_MARK } from "../src/runtime-directory.ts";
import { WHOLE } from "./fake-node.ts";
import { realRaylet } from "./real-raylet.ts";

/** What the tools of real machines print. */
function sample(name: string): string {
  return readFileSync(fileURLToPath(new URL(`../../devices/test/fixtures/${name}`, import.meta.url)), "utf8");
}

const card = (name: string, vendor: string, address: string) => ({
  [`/sys/class/drm/${name}/device/vendor`]: `${vendor}\n`,
  [`/sys/class/drm/${name}/device/uevent`]: `PCI_SLOT_NAME=${address}\n`,
});
const numbered = (name: string, count: number) => Array.from({ length: count }, (_, index) => `${name}${index}`);

/** One family a resource: what else than GPUs a machine may have, all at once. */
const NPUS: MemoryMachine = {
  folders: {
    "/dev": [
      ...[...numbered("davinci", 4), ...numbered("neuron", 2), ...numbered("accel", 8), ...numbered("rbln", 2)],
      ...[...numbered("aries", 2), ...numbered("hl", 2)],
    ],
    "/dev/tenstorrent": numbered("", 2),
    "/dev/rngd": ["npu0mgmt", "npu3mgmt"],
  },
  files: Object.fromEntries(
    numbered("accel", 8).map((chip) => [`/sys/class/accel/${chip}/device/vendor`, "0x1ae0\n"] as const),
  ),
  tools: { "neuron-ls": sample("neuron-ls-2xtrn1.json"), "hl-smi": sample("hl-smi-query-2xgaudi2.csv") },
};

/** Several makers of one resource, told apart by their variables. */
const GPUS: MemoryMachine = {
  folders: {
    "/dev": ["kfd", ...numbered("mtgpu.", 2), ...numbered("cambricon_dev", 2)],
    "/dev/biren": ["card_0", "card_3"],
    "/sys/class/drm": ["card0", "card1"],
  },
  files: { ...card("card0", "0x8086", "0000:3a:00.0"), ...card("card1", "0x8086", "0000:9a:00.0") },
  tools: {
    "nvidia-smi": ([first]) => (first?.startsWith("--query-gpu") ? sample("nvidia-smi-query-4xL40S.csv") : ""),
    "rocm-smi": sample("rocm-smi-mi210x2.json"),
  },
};

/** Every variable that shows devices, as it is for a process that has none. */
const NONE = {
  ...{ CUDA_VISIBLE_DEVICES: "", HIP_VISIBLE_DEVICES: "", ROCR_VISIBLE_DEVICES: "", ZE_AFFINITY_MASK: "" },
  ...{ MUSA_VISIBLE_DEVICES: "", MLU_VISIBLE_DEVICES: "", SUPA_VISIBLE_DEVICES: "", ASCEND_RT_VISIBLE_DEVICES: "" },
  ...{ HABANA_VISIBLE_MODULES: "", NEURON_RT_VISIBLE_CORES: "", TPU_VISIBLE_CHIPS: "", RBLN_DEVICES: "" },
  ...{ FURIOSA_DEVICES: "", TT_VISIBLE_DEVICES: "", MBLT_DEVICES: "" },
};
const LOOKS_LIMIT = 200;
const TPU_BOUNDS = { TPU_CHIPS_PER_HOST_BOUNDS: "1,2,1", TPU_HOST_BOUNDS: "1,1,1" };
const NAMES = new Set([...Object.keys(NONE), ...Object.keys(TPU_BOUNDS)]);

/** Vendor, resource, indices in the order in which they are granted, what of `NONE` is otherwise. */
type Row = [vendor: string, resource: string, indices: number[], shown: Record<string, string | undefined>];
const ROWS: { name: string; machine: MemoryMachine; rows: Row[] }[] = [
  {
    name: "a machine with one family of each resource but GPU",
    machine: NPUS,
    rows: [
      ["ascend", "NPU", [3, 1], { ASCEND_RT_VISIBLE_DEVICES: "1,3" }],
      ["gaudi", "HPU", [5], { HABANA_VISIBLE_MODULES: "5" }],
      ["neuron", "neuron_cores", [2, 3], { NEURON_RT_VISIBLE_CORES: "2,3" }],
      ["tpu", "TPU", [2, 3], { TPU_VISIBLE_CHIPS: "2,3", ...TPU_BOUNDS }],
      // Ray: with all chips the framework's own defaults are right.
      ["tpu", "TPU", [0, 1, 2, 3, 4, 5, 6, 7], { TPU_VISIBLE_CHIPS: undefined }],
      ["rebellions", "RBLN", [1], { RBLN_DEVICES: "1" }],
      ["furiosa", "FURIOSA", [0, 3], { FURIOSA_DEVICES: "npu:0,npu:3" }],
      ["tenstorrent", "TTNPU", [1], { TT_VISIBLE_DEVICES: "1" }],
      ["mobilint", "MBLT", [0], { MBLT_DEVICES: "0" }],
    ],
  },
  {
    name: "a machine with GPUs of six makers",
    machine: GPUS,
    rows: [
      ["nvidia", "GPU", [3, 0], { CUDA_VISIBLE_DEVICES: "3,0" }],
      // The HIP runtime takes an empty list for none; with devices it needs no second variable.
      ["amd", "GPU", [1], { HIP_VISIBLE_DEVICES: "1", ROCR_VISIBLE_DEVICES: undefined }],
      ["intel", "GPU", [1], { ZE_AFFINITY_MASK: "1" }],
      ["moore-threads", "GPU", [1], { MUSA_VISIBLE_DEVICES: "1" }],
      ["cambricon", "GPU", [0], { MLU_VISIBLE_DEVICES: "0" }],
      ["biren", "GPU", [3], { SUPA_VISIBLE_DEVICES: "3" }],
    ],
  },
];

describe.each(ROWS)("on $name", ({ machine, rows }) => {
  const root = mkdtempSync(`${tmpdir()}/wr-`);
  let real: Awaited<ReturnType<typeof realRaylet>>;
  beforeAll(async () => {
    real = await realRaylet(root, { machine });
  }, 60_000);
  afterAll(async () => {
    await real.stop();
    rmSync(root, { recursive: true, force: true });
  }, 60_000);

  const deviceOf = (vendor: string, index: number) =>
    real.node.node.devices.find((one) => one.vendor === vendor && one.index === index)!;

  function startWith([vendor, resource, indices]: Row, more: object) {
    const granted = indices.map((index) => ({ uuid: deviceOf(vendor, index).uuid, index, resource, units: WHOLE }));
    const units = indices.length === 0 ? {} : { [resource]: indices.length * WHOLE };
    return real.start("Engine", { units, placementUnits: units, ...more }, granted);
  }

  /** What the engine's and the worker's processes were started with, of the variables that show devices. */
  async function seenWith(devices: Row, more: object = {}, also: string[] = []): Promise<Record<string, string>[]> {
    const { answer, spec } = await startWith(devices, more);
    expect([answer.refused, answer.failed?.message]).toEqual([undefined, undefined]);
    const workerId = answer.address!.split("/")[1]!;
    try {
      const seen = [await environmentWith("WHIPRAY_ENGINE"), await environmentWith("WHIPRAY_WORKER_ID", workerId)];
      return seen.map((all) => {
        return Object.fromEntries(Object.entries(all).filter(([name]) => NAMES.has(name) || also.includes(name)));
      });
    } finally {
      await real.kill(spec.actorId);
    }
  }

  /** Of a process of the node that has this variable. One that is in the middle of an exec shows none: then again. */
  async function environmentWith(name: string, value?: string): Promise<Record<string, string>> {
    for (let look = 0; look < LOOKS_LIMIT; look++) {
      const { found } = await processesWith(NODE_MARK, real.nodeId);
      const all = await Promise.all(found.map(({ pid }) => environmentOf(pid)));
      const one = all.find((env) => env[name] !== undefined && (value === undefined || env[name] === value));
      if (one) return one;
      await delay(systemClock, 50);
    }
    throw new Error(`no process with ${name}=${value ?? "…"}`);
  }

  async function environmentOf(pid: number): Promise<Record<string, string>> {
    const text = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
    return Object.fromEntries(text.split("\0").map((entry) => entry.split(/=(.*)/s, 2)));
  }

  const defined = (values: Record<string, string | undefined>) =>
    Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));

  test.each(rows)("%s: a process with %s %j sees these, and an empty list of every other maker", async (...row) => {
    const expected = defined({ ...NONE, ...row[3] });
    expect(await seenWith(row)).toEqual([expected, expected]);
  });

  // Every vendor's flags are in the tests of @whipray/devices.
  test("isolation none, or a NOSET flag of either name in use: a variable is the user's own", async () => {
    const [row] = rows;
    const { nosetVariables, visibilityVariable = "" } = builtinPlugins.find(({ vendor }) => vendor === row![0])!;
    const own = { [visibilityVariable]: "of the user" };
    expect((await seenWith(row!, { env: own, isolation: "none" }))[0]).toMatchObject(own);
    for (const flag of nosetVariables) {
      expect(await seenWith(row!, { env: { ...own, [flag]: "1" } })).toMatchObject([own, own]);
    }
  });

  test("B26: a user's own list of devices is refused without them, naming what was granted", async () => {
    const [vendor, , indices] = rows[0]!;
    const { visibilityVariable = "" } = builtinPlugins.find((plugin) => plugin.vendor === vendor)!;
    const { answer } = await startWith(rows[0]!, { env: { [visibilityVariable]: "0" } });
    expect(answer.refused).toBeUndefined();
    expect(answer).toMatchObject({
      ok: false,
      failed: { message: expect.stringContaining(`${visibilityVariable} would show other devices`) },
    });
    expect(JSON.stringify(answer)).toContain(deviceOf(vendor, indices[0]!).uuid);
  });

  test("areal 1.4, ray 1: threads of numeric libraries are the CPUs of the process", async () => {
    const [vendor, resource, [index]] = rows[0]!;
    const units = { CPU: 4 * WHOLE, [resource]: WHOLE };
    const one: Row = [vendor, resource, [index!], {}];
    const seen = await seenWith(one, { units, placementUnits: units }, ["OMP_NUM_THREADS", "MKL_NUM_THREADS"]);
    expect(seen).toMatchObject([{ OMP_NUM_THREADS: "4", MKL_NUM_THREADS: "4" }, { OMP_NUM_THREADS: "4" }]);
  });

  test("a process without devices sees none, of any maker", async () => {
    const [engine] = await seenWith([rows[0]![0], rows[0]![1], [], {}]);
    expect(engine).toEqual(NONE);
  });
});
