import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  decodeControl,
  decodeValues,
  encodeControl,
  encodeFrame,
  encodePrefix,
  encodeValues,
  FrameSplitter,
  KIND,
  parseFrame,
} from "../src/index.ts";
import { vectorFiles } from "../vectors/generate.ts";
import { fromHex, fromNotation, toHex } from "../vectors/notation.ts";
import { codeOf } from "./frames.ts";

const directory = join(import.meta.dirname, "..", "vectors");
function load<Entry>(name: string): [string, Entry][] {
  const entries = JSON.parse(readFileSync(join(directory, name), "utf8")) as (Entry & { name: string })[];
  return entries.map((entry) => [entry.name, entry]);
}

test.each(vectorFiles())("%s is what the generator writes: the wire did not change", (name, text) => {
  expect(readFileSync(join(directory, name), "utf8")).toBe(text);
});

interface Prefix {
  hex: string;
  value: { length: number; route: number; kind: number; flags: number; headerLength: number; sequence: number };
}
test.each(load<Prefix>("prefixes.json"))("prefix: %s", (_name, { hex, value }) => {
  const { length, route, kind, flags, headerLength, sequence } = value;
  expect(toHex(encodePrefix(route, kind, flags, headerLength, sequence, length - headerLength))).toBe(hex);
});

interface FrameEntry {
  hex: string;
  value: {
    route: number;
    kind: number;
    flags: number;
    sequence: number;
    header: unknown;
    body: string;
    error?: unknown;
  };
}
describe("frames", () => {
  const entries = load<FrameEntry>("frames.json");

  test.each(entries)("%s", (_name, { hex, value }) => {
    const frame = parseFrame(fromHex(hex));
    expect([frame.route, frame.kind, frame.flags, frame.sequence]).toEqual([
      value.route,
      value.kind,
      value.flags,
      value.sequence,
    ]);
    expect(frame.header.length === 0 ? null : decodeControl(frame.header)).toEqual(value.header);
    expect(toHex(frame.body)).toBe(value.body);
    if (value.error !== undefined) expect(decodeControl(frame.body)).toEqual(value.error);
    const header = value.header === null ? undefined : encodeControl(value.header);
    expect(toHex(encodeFrame(value.route, value.kind, value.flags, value.sequence, header, frame.body))).toBe(hex);
  });

  test("there is one of every kind", () => {
    expect(new Set(entries.map(([, { value }]) => value.kind))).toEqual(new Set(Object.values(KIND)));
  });
});

interface Value {
  hex: string;
  parts: string[];
  value: unknown;
  decodeOnly?: boolean;
}
test.each(load<Value>("values.json"))("value: %s", (_name, { hex, parts, value, decodeOnly }) => {
  const meant = fromNotation(value);
  expect(decodeValues([hex, ...parts].map(fromHex))).toEqual(meant);
  if (!decodeOnly) expect(encodeValues(meant).map(toHex)).toEqual([hex, ...parts]);
});

test.each(load<{ hex: string; value: unknown }>("errors.json"))("error: %s", (_name, { hex, value }) => {
  expect(decodeControl(fromHex(hex))).toEqual(fromNotation(value));
  expect(toHex(encodeControl(fromNotation(value)))).toBe(hex);
});

interface Malformed {
  hex: string;
  code: string;
  as: "control" | "values";
}
test.each(load<Malformed>("malformed.json"))("malformed: %s", (_name, { hex, code, as }) => {
  const decode = as === "control" ? decodeControl : (bytes: Uint8Array) => decodeValues([bytes, new Uint8Array(4)]);
  expect(codeOf(() => decode(fromHex(hex)))).toBe(code);
});

test.each(load<{ hex: string; code: string }>("malformed-frames.json"))(
  "malformed frames: %s",
  (_name, { hex, code }) => {
    expect(codeOf(() => new FrameSplitter(parseFrame).push(fromHex(hex)))).toBe(code);
  },
);
