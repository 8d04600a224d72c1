import { expect, test } from "vitest";
import { MemorySegments, readLayout, SegmentWriter, WRITER_MAPPINGS_LIMIT } from "../src/index.ts";

test("a writer keeps the segments that it wrote last mapped, up to the limit, and none after its end", async () => {
  const segments = new MemorySegments();
  const writer = new SegmentWriter(segments);
  const made = Array.from({ length: WRITER_MAPPINGS_LIMIT + 6 }, () => segments.make(131_072));
  for (const { place } of made) writer.write(place, [Uint8Array.of(1, 2)]);
  expect(segments.mapped).toBe(WRITER_MAPPINGS_LIMIT);
  writer.write(made[0]!.place, [Uint8Array.of(3)]);
  writer.write(made[0]!.place, [Uint8Array.of(4)]);
  expect(segments.mapped).toBe(WRITER_MAPPINGS_LIMIT);
  expect(readLayout(await made[0]!.read(0, 65))).toEqual([Uint8Array.of(4)]);
  writer.close();
  expect(segments.mapped).toBe(0);
});

test("a segment that is gone cannot be written", () => {
  const segments = new MemorySegments();
  const one = segments.make(131_072);
  one.discard(false);
  expect(() => new SegmentWriter(segments).write(one.place, [])).toThrow(/There is no segment/);
});
