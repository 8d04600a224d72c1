import type { WhiprayError } from "@whipray/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { layoutBytes, OBJECT_PARTS_LIMIT, readLayout, writeLayout } from "../src/index.ts";

test("an object's parts come back as views of its memory, each where any typed array may start", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 10 }), (parts) => {
      const memory = new Uint8Array(layoutBytes(parts));
      writeLayout(memory, parts);
      const back = readLayout(memory);
      expect(back.map((part) => [...part])).toEqual(parts.map((part) => [...part]));
      for (const part of back) {
        expect(part.buffer).toBe(memory.buffer);
        expect(part.byteOffset % 64).toBe(0);
      }
    }),
  );
});

test("memory that is no object gives OBJECT_CORRUPT, whatever is in it", () => {
  const good = new Uint8Array(layoutBytes([new Uint8Array(10), new Uint8Array(100)]));
  writeLayout(good, [new Uint8Array(10), new Uint8Array(100)]);
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), (at, byte, length) => {
      const broken = good.slice(0, length);
      broken[at] = byte;
      try {
        for (const part of readLayout(broken)) expect(part.byteLength).toBeLessThanOrEqual(length);
      } catch (error) {
        expect((error as WhiprayError).code).toBe("OBJECT_CORRUPT");
      }
    }),
  );
  const many = new Uint8Array(1_000_000);
  new DataView(many.buffer).setUint32(0, 0x314f5257, true);
  new DataView(many.buffer).setUint32(4, OBJECT_PARTS_LIMIT + 1, true);
  expect(() => readLayout(many)).toThrow(/4097 parts/);
});
