import { describe, expect, test } from "vitest";
import {
  builtinPlugins,
  type DetectOptions,
  detectDevices,
  deviceVariables,
  fakePlugin,
  type MemoryMachine,
  memoryProbe,
  nvidia,
} from "../src/index.ts";
import { fixture } from "./fixture.ts";

const gpus: MemoryMachine = {
  tools: {
    "nvidia-smi": ([first]) =>
      fixture(first === "topo" ? "nvidia-smi-topo-m-4xL40S-pairs.txt" : "nvidia-smi-query-4xL40S.csv"),
  },
};

function detect(machine: MemoryMachine, options: Partial<DetectOptions> = {}) {
  const probe = memoryProbe(machine);
  return detectDevices({ plugins: builtinPlugins, probe, environment: {}, nodeName: "node-a", ...options });
}

test("a machine without accelerators has no devices, no warnings and a sure answer of every vendor", async () => {
  const node = await detect({});
  expect(node).toMatchObject({ devices: [], counts: {}, links: [], warnings: [] });
  expect(node.fingerprints.map(({ vendor }) => vendor)).toEqual(builtinPlugins.map(({ vendor }) => vendor));
  expect(node.fingerprints.filter(({ state }) => state !== "none")).toEqual([]);
});

test("several families on one node are allowed (ray 4 has at most one)", async () => {
  const node = await detect({ ...gpus, folders: { "/dev": ["davinci0", "davinci1"] } });
  expect(node.counts).toEqual({ GPU: 4, NPU: 2 });
});

test("a failed probe is a warning and an unknown state, not an error and not zero devices", async () => {
  const node = await detect({ tools: { "nvidia-smi": { end: "timeout", message: "killed after 5000 ms" } } });
  expect(node.counts).toEqual({});
  expect(node.fingerprints[0]?.state).toBe("unknown");
  expect(node.warnings).toEqual(["nvidia: devices are not known, since the probe failed: killed after 5000 ms"]);
});

test("a variable of the node that its processes get otherwise is told", async () => {
  const node = await detect(gpus, { environment: { CUDA_DEVICE_ORDER: "FASTEST_FIRST" } });
  expect(node.warnings).toEqual(["nvidia: CUDA_DEVICE_ORDER=FASTEST_FIRST of this node is replaced by PCI_BUS_ID"]);
});

describe("declared counts", () => {
  test("on a machine without devices they make devices with stable, unique identities", async () => {
    const first = await detect({}, { declared: { GPU: 4, NPU: 2 } });
    const again = await detect({}, { declared: { GPU: 4, NPU: 2 }, plugins: [] });
    const other = await detect({}, { declared: { GPU: 4 }, nodeName: "node-b" });
    expect(first.counts).toEqual({ GPU: 4, NPU: 2 });
    expect(first.devices.map(({ uuid }) => uuid)).toContain("FAKE-GPU-node-a-3");
    expect(again.devices).toEqual(first.devices);
    const all = [...first.devices, ...other.devices];
    expect(new Set(all.map(({ uuid }) => uuid)).size).toBe(10);
    expect(new Set(all.map(({ lockName }) => lockName)).size).toBe(10);
    expect(first.warnings).toEqual([]);
  });

  test("they win over what was found: fewer take the first healthy ones, 0 hides all", async () => {
    const some = await detect(gpus, { declared: { GPU: 3 } });
    expect(some.devices.map(({ index, health }) => [index, health])).toEqual([
      [0, "ok"],
      [1, "ok"],
      [3, "ok"],
    ]);
    expect((await detect(gpus, { declared: { GPU: 0 } })).devices).toEqual([]);
  });

  test("ray 4: they may exceed the hardware; the rest is made up, with a warning", async () => {
    const node = await detect(gpus, { declared: { GPU: 6 } });
    expect(node.devices.map(({ index, vendor }) => [index, vendor])).toEqual([
      [0, "nvidia"],
      [1, "nvidia"],
      [2, "nvidia"],
      [3, "nvidia"],
      [4, "fake"],
      [5, "fake"],
    ]);
    expect(node.warnings).toEqual(["6 GPU are declared, 4 were found: the others are taken on trust"]);
  });

  test("they stand in for a failed probe, with a warning", async () => {
    const node = await detect({ tools: { "nvidia-smi": { end: "timeout" } } }, { declared: { GPU: 2 } });
    expect(node.counts).toEqual({ GPU: 2 });
    expect(node.warnings).toHaveLength(2);
  });

  test("where a probe failed they are locked by number, the same on every node of the machine; where surely none is, each node has its own", async () => {
    const broken = { tools: { "nvidia-smi": { end: "timeout" as const } } };
    const one = await detect(broken, { declared: { GPU: 2 } });
    const other = await detect(broken, { declared: { GPU: 2 }, nodeName: "node-b" });
    expect(one.devices.map(({ lockName, onTrust }) => [lockName, onTrust])).toEqual([
      ["declared-GPU-0", true],
      ["declared-GPU-1", true],
    ]);
    expect(other.devices.map(({ lockName }) => lockName)).toEqual(one.devices.map(({ lockName }) => lockName));
    expect(other.devices[0]!.uuid).not.toBe(one.devices[0]!.uuid);
    const listed = await detect(broken, { declared: { GPU: 1 }, environment: { CUDA_VISIBLE_DEVICES: "1" } });
    expect(listed.devices[0]!.lockName).toBe("declared-GPU-1");
    const without = await detect({ folders: { "/dev": ["nvidia0"] } }, { declared: { GPU: 1 } });
    expect(without.devices[0]).toMatchObject({ lockName: "declared-GPU-0", onTrust: true });
    const driver = await detect(
      {
        ...broken,
        folders: { "/proc/driver/nvidia/gpus": ["0000:65:00.0", "0000:17:00.0", "0000:ca:00.0"] },
        files: {
          "/proc/driver/nvidia/gpus/0000:17:00.0/information": "Model: \t\t NVIDIA H100\nGPU UUID: \t GPU-aaaa1111\n",
          "/proc/driver/nvidia/gpus/0000:65:00.0/information":
            "Model: \t\t NVIDIA H100\nGPU UUID: \t GPU-????????-????\n",
          "/proc/driver/nvidia/gpus/0000:ca:00.0/information": "GPU UUID: \t GPU-cccc3333\nBus Type: \t PCIe\n",
        },
      },
      { declared: { GPU: 3 } },
    );
    // As nvidia-smi would name and count them.
    expect(driver.devices.map(({ lockName }) => lockName)).toEqual(["GPU-aaaa1111", "declared-GPU-1", "GPU-cccc3333"]);
    const bare = await detect({}, { declared: { GPU: 1 } });
    expect(bare.devices[0]).toMatchObject({ lockName: "FAKE-GPU-node-a-0" });
    expect(bare.devices[0]!.onTrust).toBeUndefined();
  });

  test("the node's own list gives made-up devices their numbers or UUIDs", async () => {
    const numbered = await detect({}, { declared: { GPU: 2 }, environment: { CUDA_VISIBLE_DEVICES: "3,5,7" } });
    expect(numbered.devices.map(({ index }) => index)).toEqual([3, 5]);
    const environment = { CUDA_VISIBLE_DEVICES: "GPU-aaaa,MIG-bbbb" };
    const named = await detect({}, { declared: { GPU: 2 }, environment });
    expect(named.devices.map(({ uuid, lockName }) => [uuid, lockName])).toEqual([
      ["GPU-aaaa", "GPU-aaaa"],
      ["MIG-bbbb", "MIG-bbbb"],
    ]);
    const variables = nvidia.visibility({ granted: named.devices.slice(1), nodeEnvironment: environment });
    expect(variables["CUDA_VISIBLE_DEVICES"]).toBe("MIG-bbbb");
  });

  test.each([
    ["3,5", 3, 2],
    ["", 1, 0],
    ["-1", 1, 0],
  ])("ray 4: with CUDA_VISIBLE_DEVICES=%j, %i GPUs are refused at start", async (value, declared, visible) => {
    const environment = { CUDA_VISIBLE_DEVICES: value };
    for (const machine of [{}, { tools: { "nvidia-smi": { end: "timeout" as const } } }]) {
      await expect(detect(machine, { declared: { GPU: declared }, environment })).rejects.toMatchObject({
        code: "DEVICE_COUNT_EXCEEDS_VISIBLE",
        details: { resource: "GPU", declared, visible, variables: ["CUDA_VISIBLE_DEVICES"] },
      });
    }
  });

  test.each([1.5, -1, Number.NaN, Number.POSITIVE_INFINITY, 257, "4" as unknown as number])(
    "a count of %s is refused",
    async (count) => {
      await expect(detect({}, { declared: { GPU: count } })).rejects.toMatchObject({ code: "INVALID_DEVICE_COUNT" });
    },
  );

  test("256 devices of a resource are the limit", async () => {
    expect((await detect({}, { declared: { GPU: 256 } })).counts).toEqual({ GPU: 256 });
  });

  test.each(["CPU", "memory", "license", "__proto__"])("%s has no devices to declare", async (resource) => {
    const declared = Object.fromEntries([[resource, 1]]);
    await expect(detect({}, { declared })).rejects.toMatchObject({ code: "INVALID_DEVICE_COUNT" });
  });
});

test("a fake vendor behaves as a plugin: found, counted, limited by the list, breakable", async () => {
  let broken = false;
  const health = (index: number) => (broken && index === 1 ? ("unhealthy" as const) : ("ok" as const));
  const plugins = [fakePlugin({ nodeName: "node-a", count: 3, like: nvidia, health })];
  const environment = { CUDA_VISIBLE_DEVICES: "2,1" };
  const before = await detect({}, { plugins, environment });
  expect(before.devices.map(({ index, health: state }) => [index, state])).toEqual([
    [2, "ok"],
    [1, "ok"],
  ]);
  broken = true;
  const after = await detect({}, { plugins, environment });
  expect(after.devices.map(({ index, health: state }) => [index, state])).toEqual([
    [2, "ok"],
    [1, "unhealthy"],
  ]);
});

describe("vendors that share a resource or a variable", () => {
  const metax = {
    "mx-smi": ([first]: readonly string[]) => fixture(first === "-L" ? "mx-smi-L-2xC500.txt" : "mx-smi-2xC500.txt"),
  };

  test("a list is another vendor's where that vendor has the devices: no warning, no second count", async () => {
    const node = await detect(gpus, { environment: { CUDA_VISIBLE_DEVICES: "0,1" }, declared: { GPU: 2 } });
    expect(node).toMatchObject({ counts: { GPU: 2 }, warnings: [] });
    const environment = { CUDA_VISIBLE_DEVICES: "0,1" };
    const tooMany = detect(gpus, { environment, declared: { GPU: 3 } });
    await expect(tooMany).rejects.toMatchObject({ code: "DEVICE_COUNT_EXCEEDS_VISIBLE", details: { visible: 2 } });
  });

  test("what a batch system sets for every vendor limits only those that are there", async () => {
    const environment = { CUDA_VISIBLE_DEVICES: "0,1", ROCR_VISIBLE_DEVICES: "0,1", ZE_AFFINITY_MASK: "0,1" };
    expect((await detect(gpus, { environment })).counts).toEqual({ GPU: 2 });
    await expect(detect(gpus, { environment, declared: { GPU: 3 } })).rejects.toMatchObject({
      code: "DEVICE_COUNT_EXCEEDS_VISIBLE",
    });
    await expect(detect({}, { environment, declared: { GPU: 3 } })).rejects.toMatchObject({
      code: "DEVICE_COUNT_EXCEEDS_VISIBLE",
    });
  });

  test("a variable that no device answers is told once", async () => {
    const node = await detect({}, { environment: { CUDA_VISIBLE_DEVICES: "0" } });
    expect(node.warnings).toEqual(["nvidia: CUDA_VISIBLE_DEVICES=0 is set, but this machine has no such device"]);
  });

  test("two vendors with one variable are both offered; a process gets those of one", async () => {
    const node = await detect({ tools: { ...gpus.tools, ...metax } });
    expect(node.counts).toEqual({ GPU: 5 });
    const theirs = node.devices.filter(({ vendor }) => vendor === "metax");
    const nodeEnvironment = {};
    expect(deviceVariables(builtinPlugins, { granted: theirs, nodeEnvironment })).toMatchObject({
      CUDA_VISIBLE_DEVICES: "0",
    });
    expect(() => deviceVariables(builtinPlugins, { granted: node.devices.slice(3), nodeEnvironment })).toThrow(
      expect.objectContaining({ code: "DEVICE_VARIABLE_CONFLICT" }),
    );
  });
});

test("links are of offered devices only", async () => {
  expect((await detect(gpus)).links).toHaveLength(6);
  const { devices, links } = await detect(gpus, { environment: { CUDA_VISIBLE_DEVICES: "1,0" } });
  expect(links).toEqual([{ from: devices[1]!.uuid, to: devices[0]!.uuid, kind: "NVLINK", lanes: 4 }]);
});
