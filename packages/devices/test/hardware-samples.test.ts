import { describe, expect, test } from "vitest";
import { parseAmdSmiTopology } from "../src/vendors/amd.ts";
import { WarningList } from "../src/warning-list.ts";
import { hardwareSample, hardwareSamples } from "./fixture.ts";
import { rowParsers } from "./parsers.ts";

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** Sample, parser, rows. NVIDIA's, Ascend's and the matrices have tests of their own. */
const expected: [sample: string, parser: string, rows: object[]][] = [
  [
    "rocm-smi-7800xt.json",
    "rocm-smi",
    [{ uuid: "ROCM-0x0123456789abcdef", memoryTotalBytes: 17_163_091_968, utilization: 1 }],
  ],
  [
    "rocm-smi-mi100x4-topology.json",
    "rocm-smi",
    ["83", "a3", "c3", "e3"].map((bus) => ({ pciAddress: `0000:${bus}:00.0`, numaNode: 1 })),
  ],
  ["hy-smi-k100.json", "hy-smi", [{ name: "DCU xxxx", memoryTotalBytes: 65_520 * MIB, utilization: 0, powerW: 80 }]],
  ["amd-smi-list.txt", "amd-smi list", [{ pciAddress: "0000:23:00.0" }, { pciAddress: "0000:26:00.0" }]],
  [
    "hl-smi-table-gaudi2.txt",
    "hl-smi",
    [
      { pciAddress: "0000:09:00.0", powerW: 87 },
      { pciAddress: "0000:08:00.0", memoryTotalBytes: 96 * GIB },
    ],
  ],
  [
    "hl-smi-query-gaudi3.csv",
    "hl-smi -Q",
    [{ uuid: "HPU-01P4-HL3090A0-18-AAAAAA-00-00-00" }, { memoryUsedBytes: 672 * MIB }],
  ],
  ["hl-smi-header-nic-driver.txt", "hl-smi", []],
  [
    "xpu-smi-discovery-b580.txt",
    "xpu-smi discovery",
    [{ name: "Intel(R) Arc(TM) B580 Graphics", pciAddress: "0000:03:00.0" }],
  ],
  ["mthreads-gmi-S80.txt", "mthreads-gmi", [{ name: "MTT S80", memoryUsedBytes: 2 * MIB, memoryTotalBytes: 16 * GIB }]],
  [
    "mthreads-gmi-S5000.txt",
    "mthreads-gmi",
    [{ pciAddress: "0000:18:00.0" }, { pciAddress: "0000:3a:00.0", memoryTotalBytes: 80 * GIB }],
  ],
  ["mx-smi-C550.txt", "mx-smi", [{ name: "MetaX C550", memoryUsedBytes: 858 * MIB, powerW: 53 }]],
  ["mx-smi-L.txt", "mx-smi -L", [{ uuid: "GPU-00000000-0000-0000-0000-000000000000" }]],
  ["cnmon-MLU370.txt", "cnmon", [{ pciAddress: "0000:39:00.0" }, { pciAddress: "0000:3d:00.0", temperatureC: 39 }]],
  ["cnmon-MLU370-v4.txt", "cnmon", [{ name: "MLU370-X4", memoryTotalBytes: 23_308 * MIB, utilization: 0 }]],
  ["ixsmi-query.csv", "ixsmi", [{ name: "Iluvatar MR-V50" }, { memoryUsedBytes: 27_996 * MIB, temperatureC: 36 }]],
];

describe.runIf(hardwareSamples.length > 0)("shared samples of real tools", () => {
  test.each(expected)("%s is read by the parser of %s", (sample, parser, rows) => {
    const output = rowParsers[parser]!(hardwareSample(sample)!);
    expect(output.rows).toMatchObject(rows);
    expect(output.rows).toHaveLength(rows.length);
  });

  test("no parser takes another tool's output for its own devices", () => {
    const claims = hardwareSamples.flatMap(([sample, text]) =>
      Object.entries(rowParsers)
        .filter(([, parse]) => parse(text).rows.length > 0)
        .map(([parser]) => `${sample}: ${parser}`),
    );
    const right = expected.filter(([, , rows]) => rows.length > 0).map(([sample, parser]) => `${sample}: ${parser}`);
    expect(claims.sort()).toEqual(right.sort());
  });

  test("amd-smi's topology has one XGMI link", () => {
    const text = hardwareSample("amd-smi-topology.json")!;
    expect(parseAmdSmiTopology(text, new WarningList())).toEqual([{ from: 0, to: 1, kind: "XGMI" }]);
  });

  test("a faulty MetaX card is named, not offered", () => {
    expect(rowParsers["mx-smi -L"]!(hardwareSample("mx-smi-L.txt")!).unusable).toMatchObject([{ index: 1 }]);
  });
});
