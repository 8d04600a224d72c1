import { describe, expect, test } from "vitest";
import {
  builtinPlugins,
  detectDevices,
  deviceVariables,
  fakeMachine,
  fakeMachineNames,
  linkScore,
  type NodeDevices,
} from "../src/index.ts";

function detect(name: string, machine = "node-a"): Promise<NodeDevices> {
  const probe = fakeMachine(name, machine);
  return detectDevices({ plugins: builtinPlugins, probe, environment: {}, nodeName: machine });
}

/** Links of a resource as `0-1` → words. */
function linksOf({ devices, links }: NodeDevices, resource: string): Map<string, string> {
  const indices = new Map(devices.filter((one) => one.resource === resource).map(({ uuid, index }) => [uuid, index]));
  return new Map(
    links
      .filter(({ from }) => indices.has(from))
      .map(({ from, to, kind, lanes }) => [`${indices.get(from)}-${indices.get(to)}`, `${kind}${lanes ?? ""}`]),
  );
}

test("8xH100: eight GPUs on two NUMA nodes, joined by NVLink in pairs", async () => {
  const found = await detect("8xH100");
  expect(found).toMatchObject({ counts: { GPU: 8 }, warnings: [] });
  expect(found.devices.map(({ numaNode }) => numaNode)).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
  expect(found.devices[7]).toMatchObject({ acceleratorType: "H100", health: "ok", cpuAffinity: "56-111,168-223" });
  const links = linksOf(found, "GPU");
  expect(links.size).toBe(28);
  const pairs = [...links].filter(([, word]) => word === "NVLINK18").map(([pair]) => pair);
  expect(pairs).toEqual(["0-1", "2-3", "4-5", "6-7"]);
  expect([links.get("0-2"), links.get("3-4")]).toEqual(["NODE", "SYS"]);
});

test("8x910B3: eight NPUs in a full mesh, two on each NUMA node", async () => {
  const found = await detect("8x910B3");
  expect(found).toMatchObject({ counts: { NPU: 8 }, warnings: [] });
  expect(found.devices.map(({ numaNode }) => numaNode)).toEqual([6, 6, 4, 4, 0, 0, 2, 2]);
  expect(new Set(linksOf(found, "NPU").values())).toEqual(new Set(["HCCS"]));
  expect(found.devices[0]).toMatchObject({ acceleratorType: "Ascend910B3", cpuAffinity: "144-167" });
});

test("mixed: two families on one node, without links across", async () => {
  const found = await detect("mixed");
  expect(found).toMatchObject({ counts: { GPU: 4, NPU: 4 }, warnings: [] });
  expect([linksOf(found, "GPU").size, linksOf(found, "NPU").size, found.links.length]).toEqual([6, 6, 12]);
  expect(found.links.every((link) => linkScore(link) > 0)).toBe(true);
});

describe.each(fakeMachineNames)("%s", (name) => {
  test("two nodes on one host share no identity and no lock, a restarted one has the same", async () => {
    const nodes = await Promise.all(["node-a", "node-b", "n.a", "n-a"].map((node) => detect(name, node)));
    const devices = nodes.flatMap((node) => node.devices);
    expect(new Set(devices.map(({ uuid }) => uuid)).size).toBe(devices.length);
    expect(new Set(devices.map(({ lockName }) => lockName)).size).toBe(devices.length);
    expect((await detect(name)).devices).toEqual(nodes[0]!.devices);
    expect(
      nodes[0]!.devices.every(({ uuid, lockName }) => uuid.includes("node-a") && lockName.includes("node-a")),
    ).toBe(true);
  });

  test("every device has stats, no processes, and is shown to a process as a real one is", async () => {
    const probe = fakeMachine(name, "node-a");
    const { devices } = await detect(name);
    for (const plugin of builtinPlugins) {
      const mine = devices.filter(({ vendor }) => vendor === plugin.vendor);
      if (mine.length === 0) continue;
      const { stats } = await plugin.stats(probe, mine);
      expect(stats.map(({ uuid, health }) => [uuid, health])).toEqual(mine.map(({ uuid }) => [uuid, "ok"]));
      for (const one of stats) expect(one.memoryTotalBytes).toBeGreaterThan(one.memoryUsedBytes!);
      expect(await plugin.processes(probe, mine)).toMatchObject({ state: "ok", processes: [] });
    }
    const granted = devices.filter(({ index }) => index === 2);
    const shown = deviceVariables(builtinPlugins, { granted, nodeEnvironment: {} });
    const value = (resource: string) => (granted.some((one) => one.resource === resource) ? "2" : "");
    expect(shown).toMatchObject({ CUDA_VISIBLE_DEVICES: value("GPU"), ASCEND_RT_VISIBLE_DEVICES: value("NPU") });
  });
});

test("a node's name of any length and form makes identities that the wire takes", async () => {
  const found = await detect("mixed", `${"very-long-".repeat(40)}ü/../`);
  for (const { uuid, lockName } of found.devices) {
    expect(uuid.length).toBeLessThanOrEqual(256);
    expect(lockName).toMatch(/^[\w-]{1,200}$/);
  }
});

test("an unknown fake machine is refused with the names that there are", () => {
  const error = { code: "UNKNOWN_FAKE_MACHINE", details: { name: "9xB200", names: fakeMachineNames } };
  expect(() => fakeMachine("9xB200", "n")).toThrow(expect.objectContaining(error));
  expect(() => fakeMachine("__proto__", "n")).toThrow(expect.objectContaining({ code: "UNKNOWN_FAKE_MACHINE" }));
});
