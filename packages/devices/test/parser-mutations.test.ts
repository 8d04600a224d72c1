import fc from "fast-check";
import { expect, test } from "vitest";
import { parseNpuList, parseNpuMap, parseNpuTable } from "../src/vendors/ascend-output.ts";
import { parseNvidiaList, parseNvidiaQuery } from "../src/vendors/nvidia-output.ts";
import { WARNING_LIMIT } from "../src/warning-list.ts";
import { fixture, fixtureNames, hardwareSamples } from "./fixture.ts";

const RUNS = 400;
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

/** What holds for every text: nothing is thrown, no identity comes from nowhere, none comes twice, warnings stay few. */
function checkParsers(text: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what the parsers take out of the text
  const squeezed = text.replace(/\u001b\[[0-9;]*[A-Za-z]|[\ufeff\r]/g, "");
  const lines = text.split("\n").length;
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
}

test.each(samples)("B39, B40: every parser reads %s without throwing", (_name, text) => {
  checkParsers(text);
});

test("B39, B40: damaged samples never throw and never invent or double a device", () => {
  fc.assert(
    fc.property(fc.constantFrom(...samples), fc.array(change, { minLength: 1, maxLength: 6 }), ([, text], steps) =>
      checkParsers(steps.reduce(mutate, text)),
    ),
    { numRuns: RUNS },
  );
});

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

test.each(["GPU 0: a", "|", "| 0  ", "index, uuid", "NPU ID  Chip ID", "MIG 1g Device 0:", "a :"])(
  "long runs of blanks after %j are read in linear time",
  (start) => {
    // Quadratic matching would need minutes here and run into the test's deadline.
    checkParsers(`${`${start}${" ".repeat(4_000)}x\n`.repeat(250)}`);
  },
);
