import fc from "fast-check";
import { expect, test } from "vitest";
import { parseNpuProcesses, parseNpuUsages } from "../src/vendors/ascend-activity.ts";
import { parseNpuList, parseNpuMap, parseNpuTable } from "../src/vendors/ascend-output.ts";
import { parseXpuStats } from "../src/vendors/intel-gpu.ts";
import { parseNvidiaProcesses } from "../src/vendors/nvidia-activity.ts";
import { parseNvidiaXml, parseXids } from "../src/vendors/nvidia-mig.ts";
import { parseNvidiaList, parseNvidiaQuery } from "../src/vendors/nvidia-output.ts";
import { WARNING_LIMIT, WarningList } from "../src/warning-list.ts";
import { fixture, fixtureNames, hardwareSamples } from "./fixture.ts";
import { linkParsers, rowParsers } from "./parsers.ts";

const RUNS = 400;
/** 10 000 damaged samples for every parser, in parts that each end in a few seconds. */
const PARTS = 10;
const RUNS_A_PART = 1_000;
const PART_LIMIT_MS = 180_000;
/** CPU time of reading one sample with all parsers, which is some milliseconds; this is for matching that explodes, on a busy machine too. */
const TEXT_LIMIT_US = 2_000_000;
/** New damage in every run of the tests, and the same again with FC_SEED. */
const firstSeed = Number(process.env["FC_SEED"] ?? Math.floor(Math.random() * 2 ** 30));
const samples = [...fixtureNames.map((name) => [name, fixture(name)] as const), ...hardwareSamples];

/** A change as real tools, terminals and pastes make them, and as nobody would. */
const change = fc.oneof(
  fc.record({ kind: fc.constant("cut" as const), at: fc.double({ min: 0, max: 1, noNaN: true }) }),
  fc.record({
    kind: fc.constant("replace" as const),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.nat(40),
    text: fc.oneof(
      fc.string({ unit: "binary", maxLength: 20 }),
      fc.constantFrom(
        "\n",
        "\t",
        "|",
        ",",
        "-",
        "[N/A]",
        "\u001b[31m",
        "GPU 7: x (UUID: ",
        "Mcu",
        "0000:C1:00.0",
        "\0",
      ),
    ),
  }),
  fc.record({
    kind: fc.constant("repeat-line" as const),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    times: fc.nat(3),
  }),
  fc.record({ kind: fc.constant("drop-line" as const), at: fc.double({ min: 0, max: 1, noNaN: true }) }),
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

function mutate(text: string, step: Change): string {
  const offset = Math.floor(step.at * text.length);
  if (step.kind === "cut") return text.slice(0, offset);
  if (step.kind === "replace") return text.slice(0, offset) + step.text + text.slice(offset + step.length);
  const lines = text.split("\n");
  const line = Math.floor(step.at * (lines.length - 1));
  const copies = step.kind === "repeat-line" ? Array(step.times + 1).fill(lines[line]!) : [];
  return [...lines.slice(0, line), ...copies, ...lines.slice(line + 1)].join("\n");
}

/** Rows of all other vendors: identity, number and place stand in the text, none is another's, values are possible. */
function checkRows(text: string, squeezed: string, lines: number): void {
  const folded = squeezed.toLowerCase();
  for (const [parser, parse] of Object.entries(rowParsers)) {
    const { rows, unusable, warnings } = parse(text);
    expect(warnings.length).toBeLessThanOrEqual(WARNING_LIMIT + 1);
    expect(unusable.length).toBeLessThanOrEqual(lines);
    // A chip has as many cores as its object says, at most 256 over all; everything else has a line of its own.
    if (parser !== "neuron-ls") expect(rows.length).toBeLessThanOrEqual(lines);
    expect(new Set(rows.map(({ index }) => index)).size).toBe(rows.length);
    const identities = rows.map(({ uuid, pciAddress, part, index }) => uuid ?? `${pciAddress ?? index}-${part}`);
    expect(new Set(identities).size).toBe(rows.length);
    for (const row of rows) {
      if (row.uuid) expect(squeezed).toContain(row.uuid.replace(/^(ROCM|HPU)-/, ""));
      // Domains are printed with four or eight digits, or not at all.
      if (row.pciAddress) expect(folded).toContain(row.pciAddress.slice(row.pciAddress.indexOf(":")).slice(1));
      if (row.part === undefined && parser !== "system_profiler") expect(squeezed).toContain(String(row.index));
      for (const value of [row.memoryTotalBytes, row.memoryUsedBytes, row.utilization, row.eccErrors]) {
        if (value !== undefined) expect(value).toBeGreaterThanOrEqual(0);
      }
    }
  }
  for (const parse of Object.values(linkParsers)) {
    const links = parse(text);
    expect(new Set(links.map(({ from, to }) => [from, to].sort().join(" "))).size).toBe(links.length);
    for (const { from, to } of links) {
      expect(from).not.toBe(to);
      for (const name of [from, to]) expect(squeezed).toContain(String(name));
    }
  }
}

/** Processes and errors: numbers stand in the text. */
function checkActivity(text: string, squeezed: string): void {
  const warnings = new WarningList();
  const xml = parseNvidiaXml(text, warnings);
  const processes = [
    ...xml.processes,
    ...(parseNvidiaProcesses(text, warnings) ?? []),
    ...(parseNpuProcesses(text, warnings) ?? []),
  ];
  for (const { pid, memoryUsedBytes = 0 } of processes) {
    expect(squeezed).toContain(String(pid));
    expect(memoryUsedBytes).toBeGreaterThanOrEqual(0);
  }
  for (const { gpuUuid } of xml.migs) expect(text).toContain(gpuUuid);
  for (const [, xids] of parseXids(text, warnings)) for (const xid of xids) expect(squeezed).toContain(String(xid));
  for (const value of Object.values(parseXpuStats(text, warnings))) expect(value).toBeGreaterThanOrEqual(0);
  for (const value of Object.values(parseNpuUsages(text))) expect(value).toBeGreaterThanOrEqual(0);
  expect(warnings.list().length).toBeLessThanOrEqual(WARNING_LIMIT + 1);
}

/** What holds for every text: nothing is thrown, no identity comes from nowhere, none comes twice, warnings stay few. */
function checkParsers(text: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what the parsers take out of the text
  const squeezed = text.replace(/\u001b\[[0-9;]*[A-Za-z]|[\ufeff\r]/g, "");
  const lines = text.split("\n").length;
  const before = process.threadCpuUsage();
  checkRows(text, squeezed, lines);
  checkActivity(text, squeezed);
  for (const output of [parseNvidiaQuery(text), parseNvidiaList(text)]) {
    const uuids = [...output.gpus, ...output.migs].map(({ uuid }) => uuid);
    for (const uuid of uuids) expect(squeezed).toContain(uuid);
    expect(new Set(uuids).size).toBe(uuids.length);
    expect(uuids.length).toBeLessThanOrEqual(lines);
    expect(new Set(output.gpus.map(({ index }) => index)).size).toBe(output.gpus.length);
    expect(output.warnings.length).toBeLessThanOrEqual(WARNING_LIMIT + 1);
    for (const mig of output.migs) expect(output.gpus).toContain(mig.parent);
  }
  for (const output of [parseNpuMap(text), parseNpuTable(text)]) {
    const places = output.rows.map(({ card, chip }) => `${card}-${chip}`);
    expect(new Set(places).size).toBe(places.length);
    expect(output.rows.length).toBeLessThan(lines);
    for (const { card, chip } of output.rows)
      for (const part of [card, chip]) expect(Number.isInteger(part)).toBe(true);
    expect(output.warnings.length).toBeLessThanOrEqual(WARNING_LIMIT + 1);
  }
  const numbers = parseNpuMap(text).rows.map(({ number }) => number);
  expect(new Set(numbers).size).toBe(numbers.length);
  expect(parseNpuList(text).rows.length).toBeLessThanOrEqual(lines);
  expect(process.threadCpuUsage(before).user).toBeLessThan(TEXT_LIMIT_US);
}

test.each(samples)("B39, B40: every parser reads %s without throwing", (_name, text) => {
  checkParsers(text);
});

test.each(Array.from({ length: PARTS }, (_, part) => firstSeed + part))(
  "B39, B40: 1 000 damaged samples never throw and never invent or double a device (seed %i)",
  (seed) => {
    fc.assert(
      fc.property(fc.constantFrom(...samples), fc.array(change, { minLength: 1, maxLength: 6 }), ([, text], steps) =>
        checkParsers(steps.reduce(mutate, text)),
      ),
      { numRuns: RUNS_A_PART, seed },
    );
  },
  PART_LIMIT_MS,
);

test("B39, B40: arbitrary text never throws", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 2_000 }), checkParsers), { numRuns: RUNS });
});

test("a damaged MIG listing never shows a MIG device as a GPU", () => {
  const text = fixture("nvidia-smi-L-2xA30-mig.txt");
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (steps) => {
      const { gpus } = parseNvidiaList(steps.reduce(mutate, text));
      for (const gpu of gpus) expect(gpu.uuid).not.toContain("MIG-");
    }),
    { numRuns: RUNS },
  );
});

test.each([
  "GPU 0: a",
  "|",
  "| 0  ",
  "index, uuid",
  "NPU ID  Chip ID",
  "MIG 1g Device 0:",
  "a :",
  "| 0  |",
  "0, ",
  "GPU: 0",
  "GPU#0 a",
  "<gpu>",
  "+-",
  "{",
  "\tGPU0",
])("long runs of blanks after %j are read in linear time", (start) => {
  // Quadratic matching would need minutes here and run into the test's deadline.
  checkParsers(`${`${start}${" ".repeat(4_000)}x\n`.repeat(250)}`);
});
