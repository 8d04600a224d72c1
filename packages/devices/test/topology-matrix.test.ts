import fc from "fast-check";
import { expect, test } from "vitest";
import { parseTopologyMatrix } from "../src/topology-matrix.ts";
import { WarningList } from "../src/warning-list.ts";
import { fixture, hardwareSample } from "./fixture.ts";

const GPU = /^GPU\d{1,4}$/;

function read(text: string, device = GPU) {
  const warnings = new WarningList();
  return { matrix: parseTopologyMatrix(text, device, warnings), warnings: warnings.list() };
}

const pairs = fixture("nvidia-smi-topo-m-4xL40S-pairs.txt");

test("links, CPU affinity and NUMA node are read; NICs and the legend are not", () => {
  const { matrix, warnings } = read(pairs);
  expect(matrix?.links).toEqual([
    { from: "GPU0", to: "GPU1", kind: "NVLINK", lanes: 4 },
    { from: "GPU0", to: "GPU2", kind: "SYS" },
    { from: "GPU0", to: "GPU3", kind: "SYS" },
    { from: "GPU1", to: "GPU2", kind: "SYS" },
    { from: "GPU1", to: "GPU3", kind: "SYS" },
    { from: "GPU2", to: "GPU3", kind: "PXB" },
  ]);
  expect(matrix?.places.get("GPU3")).toEqual({ cpuAffinity: "16-31,48-63", numaNode: 1 });
  expect(warnings).toEqual([]);
});

test("terminal colours around the header change nothing", () => {
  const header = pairs.split("\n")[0]!;
  expect(read(pairs.replace(header, `\t\u001b[4m${header.trim()}\u001b[0m`)).matrix).toEqual(read(pairs).matrix);
});

test("with blanks for tabs, what comes behind the matrix is taken only when all of it is there", () => {
  const full =
    "        GPU0    GPU1    CPU Affinity    NUMA Affinity\nGPU0     X      PIX     0-3     1\nGPU1    PIX      X      4       1\n";
  expect(read(full).matrix?.places.get("GPU1")).toEqual({ cpuAffinity: "4", numaNode: 1 });
  expect(read(full.replace("0-3     1", "1")).matrix?.places.get("GPU0")).toEqual({});
});

test("an Ascend matrix has dies of one package, and no relationship where it is unknown", () => {
  const npu = /^(NPU|Phy-ID)\d{1,4}$/;
  expect(read(fixture("npu-smi-info-t-topo-dual-die.txt"), npu).matrix?.links).toMatchObject([{ kind: "SIO" }]);
  const three = read(fixture("npu-smi-info-t-topo-a3.txt"), npu).matrix?.links;
  expect(three?.map(({ kind }) => kind)).toEqual(["SIO", "HCCS", "HCCS"]);
  const unknown = fixture("npu-smi-info-t-topo-2x910B4.txt").replaceAll(/HCCS {7}/g, "NA         ");
  expect(read(unknown, npu).matrix?.links).toEqual([]);
});

test("MetaX' and Iluvatar's tables are of the same kind, with other words behind the matrix", () => {
  const metax = read(fixture("mx-smi-topo-m-2xC500.txt")).matrix;
  expect(metax?.links).toEqual([{ from: "GPU0", to: "GPU1", kind: "MXLINK" }]);
  expect(metax?.places.get("GPU1")).toEqual({ cpuAffinity: "32-47,96-111", numaNode: 1 });
  expect(read(fixture("ixsmi-topo-m-2xBI-V150.txt")).matrix?.links).toMatchObject([{ kind: "PIX" }]);
});

test.each([
  ["B39: a lost tab (PIXNODE)", pairs.replace("NV4\tSYS", "NV4SYS")],
  ["a word that is not known", pairs.replaceAll("PXB", "ABC")],
  ["two directions that differ", pairs.replace("SYS\tSYS\t X \tPXB", "SYS\tSYS\t X \tPIX")],
  ["a row twice", pairs.replace("NIC0\tPIX", "GPU3\tSYS\tSYS\tPXB\t X \tSYS\nNIC0\tPIX")],
  ["a row too few", pairs.replace(/^GPU3.*\n/m, "")],
  ["a device that is itself elsewhere", pairs.replace("GPU1\tNV4\t X ", "GPU1\t X \tNV4")],
  ["no header", pairs.split("\n").slice(1).join("\n")],
  ["nothing", ""],
])("a matrix with %s is refused as a whole, with a reason", (_case, text) => {
  const { matrix, warnings } = read(text);
  expect(matrix).toBeUndefined();
  expect(warnings.join()).toContain("topology is not known");
});

test("whatever one change does, an accepted matrix has every pair once and each device's own places", () => {
  fc.assert(
    fc.property(fc.nat(pairs.length - 1), fc.nat(12), fc.string({ maxLength: 6 }), (at, length, text) => {
      const { matrix } = read(pairs.slice(0, at) + text + pairs.slice(at + length));
      if (!matrix) return;
      const names = [...matrix.places.keys()];
      const known = matrix.links.map(({ from, to }) => `${from} ${to}`);
      expect(new Set(known).size).toBe(known.length);
      for (const { from, to } of matrix.links)
        expect([names.includes(from), names.includes(to), from !== to]).toEqual([true, true, true]);
      expect(known.length).toBeLessThanOrEqual((names.length * (names.length - 1)) / 2);
    }),
    { numRuns: 500 },
  );
});

const samples: [name: string, device: RegExp, links: number, first: object | undefined][] = [
  ["nvidia-smi-topo-m-8xH100-nonic.txt", GPU, 28, { kind: "NVLINK", lanes: 18 }],
  ["nvidia-smi-topo-m-8xH100-12nic.txt", GPU, 28, { kind: "NVLINK", lanes: 18 }],
  ["nvidia-smi-topo-m-2xRTXPro6000-node.txt", GPU, 1, { kind: "NODE" }],
  ["nvidia-smi-topo-m-4xA100-bridges-old-header.txt", GPU, 6, { kind: "NVLINK", lanes: 12 }],
  ["nvidia-smi-topo-m-2gpu-aligned-spaces.txt", GPU, 1, { kind: "NVLINK", lanes: 2 }],
  ["npu-smi-info-t-topo-8x910B3.txt", /^NPU\d+$/, 28, { kind: "HCCS" }],
  ["nvidia-smi-topo-m-damaged-cell.txt", GPU, 0, undefined],
];

test.runIf(hardwareSample("README.md"))("the shared samples are read, and the damaged one is refused", () => {
  for (const [name, device, links, first] of samples) {
    const { matrix } = read(hardwareSample(name)!, device);
    expect([name, matrix?.links.length ?? 0]).toEqual([name, links]);
    if (first) expect(matrix?.links[0]).toMatchObject(first);
  }
  const split = read(hardwareSample("nvidia-smi-topo-m-8xH100-12nic.txt")!).matrix!.places;
  expect(split.get("GPU0")).toEqual({ cpuAffinity: "0-55,112-167", numaNode: 0 });
  expect(split.get("GPU7")).toEqual({ cpuAffinity: "56-111,168-223", numaNode: 1 });
});
