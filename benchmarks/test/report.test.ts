import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { NOISE_PART, regressions, regressionText } from "../src/vs-ray/against.ts";
import { growthOf, growthText } from "../src/vs-ray/growth.ts";
import type { RowResult } from "../src/vs-ray/measured.ts";
import { BEGIN, END, markdownOf, withTable } from "../src/vs-ray/readme.ts";
import { type Run, reportOf } from "../src/vs-ray/report.ts";

function result(name: string, ray: number, whipray: number, limit = 1_000): RowResult {
  const five = (value: number): number[] => [0.98, 0.99, 1, 1.01, 1.02].map((part) => part * value);
  const column = (value: number) => ({ rounds: five(value), stepsMs: five(1_000 / value) });
  return {
    row: { id: name, name, per: 1, unit: "/s", better: "more", limit: "ping", floor: { times: 10 } },
    columns: { ray: column(ray), whipray: column(whipray) },
    limit: new Array(5).fill(limit),
  };
}

const RUN: Run = {
  format: 1,
  facts: {
    date: "2026-11-29T12:00:00.000Z",
    cores: 2,
    cpu: "a <processor> & more",
    memoryGiB: 24,
    kernel: "6",
    node: "v26",
    python: "3.11",
    ray: "2.58.0",
    whipray: "1",
    load: 0.1,
  },
  columns: ["ray", "whipray"],
  rounds: 5,
  seconds: 1,
  quick: false,
  results: [result("won", 10, 500), result("lost", 500, 10)],
};

describe("the report", () => {
  const page = reportOf(RUN);

  it("needs nothing from elsewhere", () => {
    expect(page).not.toMatch(/<script|<link|src=|url\(|@import/);
    expect([...page.matchAll(/https?:\/\/[^"' ]+/g)].map(([url]) => url)).toEqual(
      expect.not.arrayContaining([expect.not.stringContaining("www.w3.org")]),
    );
  });

  it("shows rows that Whipray loses first, floors, bars and histograms", () => {
    expect(page.indexOf(">lost<")).toBeLessThan(page.indexOf(">won<"));
    expect(page).toContain('class="slower missed"');
    expect(page).toContain("yes (10×)");
    expect(page.match(/<svg/g)!.length).toBe(3);
    expect(page).toContain("p99 ");
  });

  it("texts of the machine are text", () => {
    expect(page).not.toContain("<processor>");
    expect(page).toContain("a &#60;processor&#62; &#38; more");
  });
});

describe("--against an earlier run", () => {
  it("fails on a fall beyond noise of the ratio to the limit, and on nothing else", () => {
    const before = [result("row", 10, 500)];
    expect(regressions(before, [result("row", 10, 490)])).toEqual([]);
    expect(regressions(before, [result("row", 10, 500 * (1 - NOISE_PART) * 0.9)])).toHaveLength(1);
    // Half as fast on a machine that is half as fast.
    expect(regressions(before, [result("row", 10, 250, 500)])).toEqual([]);
    expect(regressions(before, [result("another", 10, 1)])).toEqual([]);
    expect(regressionText(regressions(before, [result("row", 10, 100)])[0]!)).toBe(
      "row: 0.10 of the limit, before 0.50",
    );
  });
});

describe("the table of README.md", () => {
  const failed: RowResult = result("split", 10, 10);
  failed.columns["ray"] = { rounds: [], stepsMs: [], error: "Traceback\nRayError: a|b" };
  const run: Run = { ...RUN, results: [...RUN.results, failed], leftOut: ["late row"] };
  const table = markdownOf(run, "p.svg");

  it("says date, machine and versions, and shows every row, lost ones first", () => {
    expect(table).toMatch(
      /^2026-11-29: 2 × a <processor> & more, 24 GiB, Linux 6.*Ray 2\.58\.0 on Python 3\.11, Whipray on Node v26/,
    );
    expect(table).toContain("faster in 1, slower in 1");
    expect(table).toContain("late row");
    const rows = table.split("\n").filter((line) => line.startsWith("| "));
    expect(rows.map((line) => line.split(" | ")[0])).toEqual(["| ", "| ---", "| lost", "| split", "| won"]);
    expect(new Set(rows.map((line) => line.replaceAll("\\|", "").split("|").length)).size).toBe(1);
  });

  it("a column that failed says why, and a goal that is missed says so", () => {
    expect(table).toMatch(/\| split \| failed: RayError: a\\\|b \| 10\.0 \/s/);
    expect(table).toMatch(/\| lost .*▼ .*10×: \*\*no\*\* \|/);
  });

  it("replaces what stands between its markers and nothing else; the README of this repository has them", () => {
    const text = `above\n${BEGIN}\nold\n${END}\nbelow`;
    const once = withTable(text, run, "p.svg");
    expect(once).toMatch(/^above\n/);
    expect(once).toMatch(/\nbelow$/);
    expect(once).not.toContain("old");
    expect(withTable(once, run, "p.svg")).toBe(once);
    expect(() => withTable("no markers", run, "p.svg")).toThrow(/README\.md needs/);
    const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
    expect(withTable(readme, run, "p.svg")).toContain("| won |");
  });
});

describe("the cost of growth", () => {
  const grown = (id: string, ray: number, whipray: number): RowResult => {
    const one = result(id, ray, whipray);
    return { ...one, row: { ...one.row, id } };
  };
  const results = [
    grown("grow-actors-1", 100, 800),
    grown("grow-actors-10", 50, 800),
    grown("grow-actors-100", 25, 800),
    grown("grow-raylets-1", 1, 9),
  ];

  it("is what ten times as many leave of the rate, of what was measured twice or more", () => {
    const [ray, ours, ...more] = growthOf(results, ["ray", "whipray"]);
    expect(ray!.perTenfold).toBeCloseTo(0.5);
    expect(ours!.perTenfold).toBeCloseTo(1);
    expect(more).toEqual([]);
    expect(growthText(ray!)).toBe(
      "cost of growth, ray: ten times the actors leave 0.50 of the rate (100 /s with 1, 50.0 /s with 10, 25.0 /s with 100)",
    );
  });

  it("stands in the report and in README.md", () => {
    const run = { ...RUN, results };
    for (const text of [reportOf(run), markdownOf(run, "p.svg")])
      expect(text).toContain("ten times the actors leave 0.50");
  });
});
