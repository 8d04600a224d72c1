import fc from "fast-check";
import { expect, test } from "vitest";
import { ByteTail } from "../src/byte-tail.ts";

test("a tail is the end of what was pushed, however it was cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.stringMatching(/^[a-z]{0,20}$/), { maxLength: 30 }),
      fc.integer({ min: 1, max: 24 }),
      (pieces, limit) => {
        const tail = new ByteTail(limit);
        for (const piece of pieces) tail.push(Buffer.from(piece));
        const all = pieces.join("");
        expect(tail.text()).toBe(all.slice(-limit));
        expect(tail.bytes).toBe(Math.min(limit, all.length));
      },
    ),
  );
});

test("a tail of nothing keeps nothing", () => {
  const tail = new ByteTail(0);
  tail.push(Buffer.from("x"));
  expect([tail.text(), tail.bytes]).toEqual(["", 0]);
});
