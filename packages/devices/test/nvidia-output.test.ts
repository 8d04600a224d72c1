import { describe, expect, test } from "vitest";
import { nvidiaAcceleratorType } from "../src/vendors/nvidia.ts";
import { parseNvidiaList, parseNvidiaQuery } from "../src/vendors/nvidia-output.ts";
import { fixture, hardwareSample } from "./fixture.ts";

const MIB = 1_048_576;

describe("nvidia-smi --query-gpu", () => {
  test("each row is a GPU with identity, memory in bytes and the kernel's PCI address", () => {
    const { gpus, version, warnings } = parseNvidiaQuery(fixture("nvidia-smi-query-4xL40S.csv"));
    expect(gpus.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(gpus[2]).toMatchObject({
      uuid: "GPU-5a10c0de-0a01-4b1d-9c00-0000000000a2",
      name: "NVIDIA L40S",
      memoryBytes: 46_068 * MIB,
      pciAddress: "0000:a1:00.0",
      migMode: false,
      fault: "3 uncorrected ECC errors",
    });
    expect(gpus[3]?.fault).toBeUndefined();
    expect(version).toBe("570.86.15");
    expect(warnings).toEqual([]);
  });

  test("columns are found by name in any order, with units in the header or in the cells", () => {
    const text = "memory.total [MiB], name, uuid, index\n100, NVIDIA T4, GPU-aaaa1111, 3\n";
    expect(parseNvidiaQuery(text).gpus).toMatchObject([
      { index: 3, uuid: "GPU-aaaa1111", name: "NVIDIA T4", memoryBytes: 100 * MIB },
    ]);
  });

  test("[N/A] memory is unified memory, not 0", () => {
    const [gpu] = parseNvidiaQuery(fixture("nvidia-smi-query-unified.csv")).gpus;
    expect(gpu).toMatchObject({ unifiedMemory: true, pciAddress: "000f:01:00.0" });
    expect(gpu).not.toHaveProperty("memoryBytes");
  });

  test("a GPU that cannot be opened is named as faulty, a lost one keeps its identity with a fault", () => {
    const { gpus, faulty } = parseNvidiaQuery(fixture("nvidia-smi-query-one-faulty.csv"));
    expect(faulty).toMatchObject([{ index: 1, pciAddress: "0000:c4:00.0" }]);
    expect(gpus.map(({ index, fault }) => [index, fault !== undefined])).toEqual([
      [0, false],
      [2, true],
    ]);
    expect(gpus[1]?.unifiedMemory).toBe(false);
  });

  test.each([
    ["GPU1: 0000:34:00.0: Unknown Error", 1, "0000:34:00.0"],
    ["GPU0000:CB:00.0: Unknown Error", undefined, "0000:cb:00.0"],
    ["GPU 0000:02:00.0: GPU is lost.  Reboot the system to recover this GPU", undefined, "0000:02:00.0"],
  ])("B39: the failure text %s names the GPU", (words, index, pciAddress) => {
    const { gpus, faulty } = parseNvidiaQuery(`Unable to determine the device handle for ${words}\n`);
    expect(gpus).toEqual([]);
    expect(faulty).toMatchObject([{ ...(index !== undefined && { index }), pciAddress }]);
  });

  test("B39: empty, header only, translated and headerless output give no GPU and say why", () => {
    const header = "index, uuid, name\n";
    const translated = "索引, 标识, 名称\n0, GPU-aaaa1111, NVIDIA T4\n";
    for (const text of ["", translated, "0, GPU-aaaa1111, NVIDIA T4\n"]) {
      const { gpus, warnings } = parseNvidiaQuery(text);
      expect(gpus).toEqual([]);
      expect(warnings.join()).toContain("no table");
    }
    expect(parseNvidiaQuery(header)).toMatchObject({ gpus: [], saysNone: false });
    expect(parseNvidiaQuery("No devices were found\n")).toMatchObject({ gpus: [], saysNone: true, warnings: [] });
  });

  test("B39: rows without identity, with missing cells or repeated UUIDs are left out with a warning", () => {
    const text =
      "index, uuid, name\n0, [N/A], a\nx, GPU-aaaa1111, b\n1, GPU-aaaa2222\n2, GPU-aaaa3333, c\n3, GPU-aaaa3333, d\n";
    const { gpus, warnings } = parseNvidiaQuery(text);
    expect(gpus.map(({ index }) => index)).toEqual([2]);
    expect(warnings).toHaveLength(4);
  });

  test("B39: 10 MB of rows end at the limits, with few warnings", () => {
    const rows = Array.from(
      { length: 200_000 },
      (_, n) => `${n}, GPU-${String(n).padStart(12, "0")}, NVIDIA T4, 1 MiB`,
    );
    const { gpus, warnings } = parseNvidiaQuery(`index, uuid, name, memory.total [MiB]\n${rows.join("\n")}`);
    expect(gpus).toHaveLength(256);
    expect(warnings.join("\n")).toMatch(/output cut at 1048576 characters/);
    expect(warnings.join("\n")).toMatch(/beyond the limit of 256/);
    expect(warnings.length).toBeLessThanOrEqual(33);
  });

  test("warnings hold no control characters of the output", () => {
    const { warnings } = parseNvidiaQuery("\u001b]52;c;aGk=\u0007 evil\u001b[31m\u0000\n");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: their absence is the point
    expect(warnings.join()).not.toMatch(/[\u0000-\u001f\u007f]/);
  });
});

describe("nvidia-smi -L", () => {
  test("MIG rows are parts of the GPU above, not GPUs; both UUID forms are read", () => {
    const { gpus, migs, warnings } = parseNvidiaList(fixture("nvidia-smi-L-2xA30-mig.txt"));
    expect(gpus.map(({ index, name }) => [index, name])).toEqual([
      [0, "NVIDIA A30"],
      [1, "NVIDIA A30"],
    ]);
    expect(migs.map(({ parent, profile, uuid }) => [parent.index, profile, uuid])).toEqual([
      [1, "2g.12gb", "MIG-6b20c0de-0b02-4b1d-9c00-0000000001b1"],
      [1, "1g.6gb+me", "MIG-GPU-6b20c0de-0b02-4b1d-9c00-0000000000b1/5/0"],
    ]);
    expect(warnings).toEqual([]);
  });

  test("MIG rows below a damaged GPU line belong to no other GPU", () => {
    const text = fixture("nvidia-smi-L-2xA30-mig.txt").replace("GPU 1: NVIDIA A30 (UUID:", "GPU 1: NVIDIA A30 (UU");
    const { gpus, migs, warnings } = parseNvidiaList(text);
    expect([gpus.length, migs.length, warnings.length]).toEqual([1, 0, 3]);
  });

  test.runIf(hardwareSample("nvidia-smi-L-A100-mig.txt"))("the shared samples give their known counts", () => {
    const count = (name: string) => {
      const { gpus, migs } = parseNvidiaList(hardwareSample(name)!);
      return [gpus.length, migs.length];
    };
    expect(count("nvidia-smi-L-8xH100.txt")).toEqual([8, 0]);
    expect(count("nvidia-smi-L-A100-mig.txt")).toEqual([6, 10]);
    expect(count("nvidia-smi-L-mig-odd-shapes.txt")).toEqual([3, 3]);
  });
});

test.each([
  ["NVIDIA H100 80GB HBM3", "H100"],
  ["NVIDIA A100-SXM4-40GB", "A100"],
  ["A100-SXM4-40GB", "A100"],
  ["Tesla V100-SXM2-16GB", "V100"],
  ["NVIDIA L40S", "L40S"],
  ["NVIDIA GH200 480GB", "GH200"],
  ["NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"],
  ["NVIDIA GeForce RTX 5090", "GeForce-RTX-5090"],
  ["", "NVIDIA"],
])("ray 5: accelerator type of %j is %s", (name, type) => {
  expect(nvidiaAcceleratorType(name)).toBe(type);
});
