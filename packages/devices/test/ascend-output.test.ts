import { describe, expect, test } from "vitest";
import { ascendAcceleratorType } from "../src/vendors/ascend.ts";
import { davinciNumbers, parseNpuList, parseNpuMap, parseNpuTable } from "../src/vendors/ascend-output.ts";
import { fixture, hardwareSample } from "./fixture.ts";

const MB = 1_048_576;
const shared = hardwareSample("npu-smi-info-910B3-8card.txt") !== undefined;

describe("npu-smi info -m", () => {
  test("the device number is the logic id, not the NPU id; Mcu rows are no devices", () => {
    const { rows, warnings } = parseNpuMap(fixture("npu-smi-info-m-2x910B4.txt"));
    expect(rows).toEqual([
      { card: 2, chip: 0, number: 0, name: "Ascend 910B4" },
      { card: 5, chip: 0, number: 1, name: "Ascend 910B4" },
    ]);
    expect(warnings).toEqual([]);
  });

  test("Ascend 950 has no logic id: the Phy-ID counts, and the slot is skipped", () => {
    expect(parseNpuMap(fixture("npu-smi-info-m-950.txt")).rows).toEqual([
      { card: 4, chip: 0, number: 2, name: "Ascend950DT" },
      { card: 5, chip: 0, number: 3, name: "Ascend950DT" },
    ]);
  });

  test("columns are read by name in any order, and a name of several words may stand anywhere", () => {
    const text = "Chip Name  Chip Logic ID  NPU ID  Chip ID\nAscend 910B4 Pro 7 3 1\n";
    expect(parseNpuMap(text).rows).toEqual([{ card: 3, chip: 1, number: 7, name: "Ascend 910B4 Pro" }]);
  });

  test("B40: a dash logic id, short rows and unknown headers give warnings and no devices", () => {
    const header = "NPU ID Chip ID Chip Logic ID Chip Name\n";
    expect(parseNpuMap(`${header}0 0 - Ascend 910B4\n0 1\n`)).toMatchObject({ rows: [], warnings: { length: 2 } });
    expect(parseNpuMap("NPU ID  Chip ID  Die ID  Chip Logic ID\n0 0 0 0\n").rows).toEqual([]);
    expect(parseNpuMap("dcmi model initialized failed\n")).toMatchObject({ rows: [], warnings: { length: 1 } });
    expect(parseNpuMap("").rows).toEqual([]);
  });

  test.runIf(shared)("the shared samples give their known chips", () => {
    const numbers = (name: string) => parseNpuMap(hardwareSample(name)!).rows.map((row) => row.number);
    expect(numbers("npu-smi-info-m-910B3.txt")).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(numbers("npu-smi-info-m-910C-dual-die.txt")).toEqual([0, 1, 2, 3]);
    expect(numbers("npu-smi-info-m-950-slot.txt")).toEqual([0, 1]);
    expect(numbers("npu-smi-info-m-phyid-5col.txt")).toEqual([0, 1]);
    expect(numbers("npu-smi-info-m-310.txt")).toEqual([0, 1, 2, 3]);
  });
});

describe("npu-smi info", () => {
  test("two lines make one chip; the process table below adds none", () => {
    const { rows, version, warnings } = parseNpuTable(fixture("npu-smi-info-2x910B4.txt"));
    expect(rows).toMatchObject([
      { card: 2, chip: 0, name: "910B4", health: "ok", pciAddress: "0000:82:00.0", powerW: 88.1, temperatureC: 37 },
      { card: 5, chip: 0, health: "unhealthy", healthText: "Warning" },
    ]);
    expect(rows[0]).toMatchObject({ utilization: 0.35, memoryUsedBytes: 30_077 * MB, memoryTotalBytes: 32_768 * MB });
    expect([version, warnings]).toEqual(["24.1.0", []]);
  });

  test("two dies of one card are two chips, with the Phy-ID as number; power - is absent", () => {
    const { rows } = parseNpuTable(fixture("npu-smi-info-dual-die.txt"));
    expect(rows.map(({ card, chip, number }) => [card, chip, number])).toEqual([
      [3, 0, 6],
      [3, 1, 7],
    ]);
    expect(rows[1]).not.toHaveProperty("powerW");
  });

  test("a chip without PCI and without HBM has its own memory and no address", () => {
    const [row] = parseNpuTable(fixture("npu-smi-info-310B-no-pci.txt")).rows;
    expect(row).toMatchObject({ name: "310B4", health: "unhealthy", memoryTotalBytes: 7_545 * MB });
    expect(row).not.toHaveProperty("pciAddress");
  });

  test("B40: a table without its lower lines gives no chip", () => {
    const text = fixture("npu-smi-info-2x910B4.txt")
      .split("\n")
      .filter((line) => !/0000:/.test(line))
      .join("\n");
    expect(parseNpuTable(text)).toMatchObject({ rows: [], warnings: { length: 1 } });
  });

  test("B40: the process table alone gives no chip", () => {
    const text = fixture("npu-smi-info-2x910B4.txt").split("\n").slice(12).join("\n");
    expect(parseNpuTable(text).rows).toEqual([]);
  });

  test.runIf(shared)("B40: the four widths of the shared samples are read alike", () => {
    const read = (name: string) => {
      const { rows, warnings } = parseNpuTable(hardwareSample(name)!);
      expect(warnings, name).toEqual([]);
      return rows.map(({ card, chip, number, health }) => [card, chip, number, health]);
    };
    expect(read("npu-smi-info-910B3-8card.txt")).toHaveLength(8);
    expect(read("npu-smi-info-910B3-processes.txt")).toEqual([
      [0, 0, undefined, "ok"],
      [5, 0, undefined, "ok"],
    ]);
    expect(read("npu-smi-info-A3-dual-die.txt").map(([, , number]) => number)).toEqual([0, 1, 2, 3]);
    expect(read("npu-smi-info-26.0-wide.txt")).toEqual([
      [0, 0, 0, "ok"],
      [0, 1, 1, "ok"],
    ]);
    expect(read("npu-smi-info-910A-warning.txt").map(([, , , health]) => health)).toEqual(["ok", "unhealthy"]);
    expect(read("npu-smi-info-310-4chip.txt")).toEqual([3, 4, 5, 6].map((device, chip) => [6, chip, device, "ok"]));
  });
});

describe("npu-smi info -l", () => {
  test("each card is counted once, with its chips", () => {
    const { rows, warnings } = parseNpuList(fixture("npu-smi-info-l-2x910B4.txt"));
    expect(rows).toEqual([
      { card: 2, chipCount: 1 },
      { card: 5, chipCount: 1 },
    ]);
    expect(warnings).toEqual([]);
  });

  test("a total that differs from the list is told", () => {
    const text = fixture("npu-smi-info-l-2x910B4.txt").replace(": 2", ": 8");
    expect(parseNpuList(text).warnings).toEqual(["npu-smi counts 8 cards and lists 2"]);
  });

  test.runIf(shared)("the shared samples give their known cards", () => {
    expect(parseNpuList(hardwareSample("npu-smi-info-l-8x910B.txt")!).rows).toHaveLength(8);
    expect(parseNpuList(hardwareSample("npu-smi-info-l-with-product.txt")!).rows).toEqual([{ card: 8, chipCount: 1 }]);
  });
});

describe("/dev/davinciN", () => {
  test("numbers ascend as numbers, and davinci_manager is no device", () => {
    expect(davinciNumbers(["davinci15", "davinci_manager", "davinci2", "davinci0", "davinci1x"])).toEqual([0, 2, 15]);
  });

  test.runIf(shared)("the shared listing has eight", () => {
    const names = hardwareSample("dev-davinci-8card.txt")!.match(/(?<=\/dev\/)davinci\w+/g)!;
    expect(davinciNumbers([...new Set(names)])).toHaveLength(8);
  });
});

test.each([
  ["Ascend 910B3", "Ascend910B3"],
  ["910B4", "Ascend910B4"],
  ["310", "Ascend310"],
  ["Ascend950PR", "Ascend950PR"],
  ["", "Ascend"],
])("accelerator type of %j is %s", (name, type) => {
  expect(ascendAcceleratorType(name)).toBe(type);
});
