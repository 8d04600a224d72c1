import { describe, expect, test } from "vitest";
import { type Figures, measureScale, timesOf } from "../src/scale/figures.ts";
import { Planner } from "../src/scale/planner.ts";
import { expectations, holdsUp, table } from "../src/scale/scale.ts";

describe("npm run bench -- scale", () => {
  test("fills a small cluster as it fills a large one: 8 bundles and ten actors a node, each placed", () => {
    const figures = measureScale(10, 6);
    expect(figures).toMatchObject({ nodes: 10, groups: 10, actors: 100 });
    expect(figures.group.samples).toBe(6);
    expect(figures.actor.samples).toBe(6);
    expect(figures.tick.samples).toBe(6);
    for (const { p50, p99 } of [figures.group, figures.noRoom, figures.inGroup])
      expect(p99).toBeGreaterThanOrEqual(p50);
  });

  test("a decision counts once the ledgers have confirmed it, and what is removed is free again", () => {
    const planner = new Planner(1);
    planner.addNode();
    const whole = Array.from({ length: 8 }, () => ({ GPU: 10_000 }));
    const first = planner.addGroup("PACK", whole);
    expect(first.placed).toBe(true);
    expect(planner.addGroup("PACK", whole).placed).toBe(false);
    expect(planner.addActor({ GPU: 10_000 }).placed).toBe(false);
    const inside = planner.addActor({ GPU: 10_000 }, first.pgId);
    expect(inside.placed).toBe(true);
    planner.removeActor(inside.actorId);
    planner.removeGroup(first.pgId);
    expect(planner.addGroup("STRICT_PACK", whole).placed).toBe(true);
  });

  test("p50 and p99 are those of the sorted samples", () => {
    const ms = Array.from({ length: 100 }, (_, at) => 100 - at);
    expect(timesOf(ms)).toEqual({ p50: 50, p99: 99, samples: 100 });
    expect(timesOf([3])).toEqual({ p50: 3, p99: 3, samples: 1 });
  });

  test("the expectations are those at 1 000 nodes, and growth from the first size to the last", () => {
    const times = (p50: number, p99: number) => ({ p50, p99, samples: 1 });
    const of = (nodes: number, p50: number, p99: number, memoryMb: number): Figures => {
      const each = times(p50, p99);
      return {
        nodes,
        groups: 1,
        actors: 1,
        group: each,
        noRoom: each,
        why: each,
        actor: each,
        inGroup: each,
        tick: each,
        memoryMb,
      };
    };
    const sizes = [of(10, 0.1, 1, 60), of(1_000, 1, 6, 210), of(5_000, 2, 9, 900)];
    const list = expectations(sizes);
    expect(list.filter((one) => !holdsUp(one)).map(({ value }) => value)).toEqual([6, 6, 6, 6, 210]);
    expect(list.at(-1)).toMatchObject({ value: 20, atMost: 500 });
    expect(expectations(sizes.slice(0, 1))).toEqual([]);
    expect(table(sizes).join("\n")).toContain("group of 8 bundles: p99 in ms at 1 000 nodes: 6.00 (at most 5: NO)");
  });
});
