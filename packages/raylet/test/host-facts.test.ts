import { describe, expect, test } from "vitest";
import { readHostFacts } from "../src/host-facts.io.ts";
import { cgroupLimits, type HostFacts, nodeScalars } from "../src/host-facts.ts";

const machine = (files: Record<string, string>) => (path: string) => files[path];

describe("limits of the cgroup (F49)", () => {
  test("v2: the tightest on the way up counts", () => {
    const read = machine({
      "/proc/self/cgroup": "0::/pod/box\n",
      "/sys/fs/cgroup/cgroup.controllers": "cpu memory",
      "/sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
      "/sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
      "/sys/fs/cgroup/pod/memory.max": "1000000\n",
      "/sys/fs/cgroup/pod/memory.current": "200\n",
      "/sys/fs/cgroup/pod/box/memory.max": "max\n",
    });
    expect(cgroupLimits(read)).toEqual({ version: "v2", cpus: 1.5, memoryBytes: 1_000_000, memoryUsedBytes: 200 });
  });

  test("v1: one folder a controller; huge numbers and −1 mean none", () => {
    const read = machine({
      "/proc/self/cgroup": "5:memory:/box\n3:cpu,cpuacct:/box\n1:name=systemd:/\n",
      "/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "50000",
      "/sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
      "/sys/fs/cgroup/memory/box/memory.limit_in_bytes": "4096",
      "/sys/fs/cgroup/memory/box/memory.usage_in_bytes": "96",
    });
    expect(cgroupLimits(read)).toEqual({ version: "v1", cpus: 0.5, memoryBytes: 4_096, memoryUsedBytes: 96 });
  });

  test.each([{}, { "/proc/self/cgroup": "garbage" }, { "/proc/self/cgroup": "0::/x" }])("none: %j", (files) => {
    expect(cgroupLimits(machine(files))).toEqual({ version: "none" });
  });
});

describe("a node's resources", () => {
  const facts: HostFacts = { hostname: "a", cpus: 4, memoryBytes: 1_000, ip: "10.0.0.1", cgroup: "none" };

  test.each([
    { cpus: -1 },
    { cpus: 1.5 },
    { memoryBytes: Number.NaN },
    { custom: { "x y": 1 } },
    { custom: { x: 0.5 } },
  ])("totals are whole numbers from 0 under names (ray.md 4): %j is refused", (options) => {
    expect(() => nodeScalars(facts, [], options)).toThrow(expect.objectContaining({ code: "INVALID_RESOURCES" }));
  });

  test("CPU, memory without the object store's part, its address, accelerator types (ray.md 4)", () => {
    expect(nodeScalars(facts, ["H100"])).toEqual({
      ...{ CPU: 40_000, memory: 700, object_store_memory: 300 },
      ...{ "node:10.0.0.1": 10_000, "accelerator_type:H100": 10_000 },
    });
  });

  test("declared counts win and may exceed the machine; zeros are dropped", () => {
    expect(nodeScalars(facts, [], { cpus: 0, memoryBytes: 100, custom: { licence: 2 } })).toEqual({
      ...{ memory: 100, object_store_memory: 30, "node:10.0.0.1": 10_000, licence: 20_000 },
    });
  });

  test("this machine", async () => {
    const here = await readHostFacts();
    expect(here.cpus).toBeGreaterThanOrEqual(1);
    expect(here.memoryBytes).toBeGreaterThan(0);
    expect(here.hostname).not.toBe("");
    expect((await readHostFacts("127.0.0.2")).ip).toBe("127.0.0.2");
  });
});
