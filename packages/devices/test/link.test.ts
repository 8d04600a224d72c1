import { expect, test } from "vitest";
import { type DeviceLink, linkScore } from "../src/index.ts";

const score = (kind: DeviceLink["kind"], lanes?: number) => linkScore({ kind, ...(lanes !== undefined && { lanes }) });

test("device rule 10: lanes of NVLink > PIX > PXB > PHB and NODE > SYS > no link", () => {
  const order = [
    ...[
      score("CHIP"),
      score("NVLINK", 18),
      score("NVLINK", 4),
      score("NVLINK", 1),
      score("PIX"),
      score("PXB"),
      score("PHB"),
    ],
    ...[score("SYS"), linkScore(undefined)],
  ];
  expect([...order].sort((left, right) => right - left)).toEqual(order);
  expect(new Set(order).size).toBe(order.length);
  expect(score("NODE")).toBe(score("PHB"));
  expect(score("SIO")).toBe(score("CHIP"));
});

test("a fabric of any vendor is better than any way over PCIe", () => {
  for (const kind of ["HCCS", "SIO", "XGMI", "XELINK", "MXLINK", "MTLINK", "MLULINK", "NEURONLINK", "ICI"] as const) {
    expect(score(kind)).toBeGreaterThan(score("PIX"));
  }
});
