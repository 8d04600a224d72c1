import fc from "fast-check";
import { expect, test } from "vitest";
import { SequenceTable } from "../src/session/sequence-table.ts";

const sorted = (entries: Iterable<[number, string]>): [number, string][] => [...entries].sort(([a], [b]) => a - b);

test("is a Map, whatever comes and goes", () => {
  const step = fc.record({
    what: fc.constantFrom("add", "add", "add", "delete", "replace", "late"),
    pick: fc.nat(1_000),
    skip: fc.nat(3),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const [table, map] = [new SequenceTable<string>(), new Map<number, string>()];
      let next = 1;
      steps.forEach(({ what, pick, skip }, at) => {
        const known = [...map.keys()][pick % (map.size || 1)] ?? 0;
        if (what === "add") next += skip + 1;
        const sequence = what === "add" ? next : what === "late" ? pick % next : known;
        if (what === "delete") expect(table.delete(known)).toBe(map.delete(known));
        else if (what !== "replace" || map.has(known)) {
          table.set(sequence, `${at}`);
          map.set(sequence, `${at}`);
        }
        expect(table.size).toBe(map.size);
        expect(table.get(sequence)).toBe(map.get(sequence));
      });
      expect(sorted(table.entries())).toEqual(sorted(map));
      expect([...table.values()].length).toBe(map.size);
      table.clear();
      expect([table.size, [...table.entries()]]).toEqual([0, []]);
    }),
  );
});

test("one that stays for long does not hold up those after it", () => {
  const table = new SequenceTable<number>();
  const [stays, under, last] = [1, 70_000, 200_000];
  table.set(stays, stays);
  for (let sequence = 2; sequence <= last; sequence++) {
    table.set(sequence, sequence);
    if (sequence > under + 1) expect(table.delete(sequence - under)).toBe(true);
  }
  expect(table.size).toBe(under + 1);
  expect([0, stays, 2, last - under, last - under + 1, last, last + 1].map((sequence) => table.get(sequence))).toEqual([
    undefined,
    stays,
    undefined,
    undefined,
    last - under + 1,
    last,
    undefined,
  ]);
  expect(table.delete(stays)).toBe(true);
  expect(table.delete(stays)).toBe(false);
});
