import fc from "fast-check";
import { expect, test } from "vitest";
import { type StoreAction, StoreTable, sizeClass } from "../src/index.ts";
import { TableModel } from "./table-model.ts";

const MIB = 1_048_576;
const limits = {
  capacityBytes: 6 * MIB,
  diskBytes: 12 * MIB,
  segments: 12,
  objects: 40,
  patienceMs: 50,
  warmMs: 200,
};

const object = fc.integer({ min: 0, max: 14 }).map((n) => `obj_${n}`);
const process = fc.integer({ min: 0, max: 3 }).map((n) => `process_${n}`);
const bytes = fc.integer({ min: 1, max: 3 * MIB });

const step = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constant("put" as const),
      object,
      owner: process,
      creator: process,
      bytes,
      copy: fc.constant(false),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("create" as const),
      object,
      owner: process,
      creator: process,
      bytes,
      copy: fc.boolean(),
      patient: fc.boolean(),
      spare: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("seal" as const), object }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("attach" as const), object, holder: process }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("detach" as const), object, holder: process }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("free" as const), object }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("ownerGone" as const), owner: process }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("holderGone" as const), holder: process }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("cancel" as const), nth: fc.nat(10) }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("disk" as const), nth: fc.nat(10), fails: fc.integer({ min: 0, max: 9 }) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 120 }) }) },
);

test("any history: bytes are conserved, one object a segment, nothing pinned is spilled or used again, every request is answered", () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120, size: "max" }), (steps) => {
      const table = new StoreTable(limits);
      const model = new TableModel(limits);
      const apply = (actions: readonly StoreAction[]): void => model.apply(actions);
      let now = 0;
      for (const one of steps) {
        now++;
        switch (one.do) {
          case "create":
          case "put": {
            apply(table.create({ ...one, ticket: model.asks(one.object, "create", one.creator, one.bytes) }, now));
            const made = table.get(one.object);
            if (one.do !== "put" || made?.state !== "writing") break;
            model.sealed(one.object);
            apply(table.seal(one.object, made.creator, now));
            break;
          }
          case "seal": {
            const found = table.get(one.object);
            if (found?.state === "writing") {
              model.sealed(one.object);
              apply(table.seal(one.object, found.creator, now));
            } else expect(() => table.seal(one.object, "process_0", now)).toThrow(/is not being written/);
            break;
          }
          case "attach":
            apply(table.attach(model.asks(one.object, "attach", one.holder), one.object, one.holder, now));
            break;
          case "detach":
            model.unmapped(one.object, one.holder);
            apply(table.detach(one.object, one.holder, now));
            break;
          case "free":
            apply(table.free(one.object, now));
            break;
          case "ownerGone":
            apply(table.ownerGone(one.owner, now));
            break;
          case "holderGone":
            model.holderGone(one.holder);
            apply(table.holderGone(one.holder, now));
            break;
          case "cancel": {
            const [ticket, asked] = [...model.asked][one.nth] ?? [];
            if (ticket !== undefined && asked) {
              model.asked.delete(ticket);
              apply(table.cancel(ticket, asked.object, now));
            }
            break;
          }
          case "disk":
            apply(model.diskStep(table, one.nth, one.fails === 0, now));
            break;
          default:
            // Some times have more digits than a double: what is awaited must be due when it comes.
            now = one.ms % 3 === 0 ? Math.max(now, table.nextTick() ?? now) : now + one.ms / 3;
            apply(table.tick(now));
            // What waits for a disk is no matter of time: nothing is due again at once.
            expect(table.nextTick() ?? now + 1).toBeGreaterThan(now);
        }
        model.check(table);
      }
      // Writers finish, the disk works, patience ends: every request has its answer.
      for (let round = 0; round < 60; round++) {
        for (const { id, state, creator } of [...table.rows()]) {
          if (state !== "writing") continue;
          model.sealed(id);
          apply(table.seal(id, creator, ++now));
        }
        while (model.diskWork.length > 0) apply(model.diskStep(table, 0, false, now));
        now += limits.patienceMs;
        apply(table.tick(now));
        model.check(table);
      }
      expect([...model.asked.values()]).toEqual([]);
      // Everybody leaves, the disk finishes, time passes: nothing is left.
      for (let n = 0; n < 4; n++) {
        now++;
        model.holderGone(`process_${n}`);
        apply(table.holderGone(`process_${n}`, now));
        apply(table.ownerGone(`process_${n}`, now));
      }
      while (model.diskWork.length > 0) apply(model.diskStep(table, 0, false, now));
      now += limits.warmMs + limits.patienceMs + 6_000;
      apply(table.tick(now));
      model.check(table);
      expect(table.stats).toEqual({
        objects: 0,
        usedBytes: 0,
        pooledBytes: 0,
        spilledBytes: 0,
        pinnedBytes: 0,
        waiting: 0,
      });
      expect(model.segments.size).toBe(0);
      expect(model.files.size).toBe(0);
      expect(table.nextTick()).toBeUndefined();
      for (const kind of model.seen) seen.add(kind);
    }),
    { numRuns: 100, seed: 1 },
  );
  expect([...seen].sort()).toEqual(["attached", "discard", "erase", "grant", "letGo", "refuse", "restore", "spill"]);
});

test("sizes of segments: at least the object, at most a quarter more, in whole pages", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 40 }), (size) => {
      const segment = sizeClass(size);
      expect(segment).toBeGreaterThanOrEqual(size);
      expect(segment).toBeLessThanOrEqual(Math.max(131_072, size * 1.25 + 4_096));
      expect(segment % 4_096).toBe(0);
      expect(sizeClass(segment)).toBe(segment);
    }),
  );
});
