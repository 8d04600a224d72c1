import { SimulatedClock } from "@whipray/core";
import { expect, test } from "vitest";
import { COLLECT_LATEST_MS, LONGEST_AGAIN_MS, ViewCollector } from "../src/view-collector.ts";

function world(...mapped: string[]) {
  return limitedWorld(false, ...mapped);
}

function limitedWorld(onlyForRoom: boolean, ...mapped: string[]) {
  const clock = new SimulatedClock();
  const views = new Set(mapped);
  const reached = new Set(mapped);
  const state = { load: 0, tookMs: 0, collections: [] as number[] };
  const garbage = {
    collect() {
      state.collections.push(clock.now());
      for (const view of views) if (!reached.has(view)) views.delete(view);
    },
    load: () => state.load,
  };
  const has = (view: string) => views.has(view);
  const collector = new ViewCollector({
    clock,
    garbage,
    onlyForRoom,
    views: {
      has,
      get count() {
        return views.size;
      },
    },
  });
  return { clock, views, reached, state, collector };
}

test("what nobody reaches is let go when the process is idle, with one collection", async () => {
  const { clock, views, reached, state, collector } = world("a", "b");
  reached.clear();
  collector.ask(["a"]);
  await clock.run(60_000);
  expect([...views]).toEqual([]);
  expect(state.collections.length).toBe(1);
});

test("nothing is collected for objects that are not mapped here, nor for room when nothing is", async () => {
  const { clock, views, state, collector } = world("a");
  collector.ask(["b"]);
  views.clear();
  collector.ask([]);
  await clock.run(60_000);
  expect(state.collections).toEqual([]);
});

test("room is needed: one collection, whatever is mapped", async () => {
  const { clock, views, reached, state, collector } = world("a", "b");
  reached.delete("a");
  collector.ask([]);
  await clock.run(60_000);
  expect([...views]).toEqual(["b"]);
  expect(state.collections.length).toBe(1);
});

test("a busy process collects when it is idle, and after COLLECT_LATEST_MS all the same", async () => {
  const { clock, state, collector } = world("a");
  state.load = 1;
  collector.ask(["a"]);
  await clock.run(COLLECT_LATEST_MS - 100);
  expect(state.collections).toEqual([]);
  await clock.run(200);
  expect(state.collections.length).toBe(1);
  const idle = world("a");
  idle.state.load = 1;
  idle.collector.ask(["a"]);
  await idle.clock.run(500);
  idle.state.load = 0.1;
  await idle.clock.run(100);
  expect(idle.state.collections.length).toBe(1);
});

test("what is reached on purpose is looked for again, ever more seldom, up to LONGEST_AGAIN_MS, until it goes", async () => {
  const { clock, reached, views, state, collector } = world("a");
  collector.ask(["a"]);
  await clock.run(10 * LONGEST_AGAIN_MS);
  const waits = state.collections.slice(1).map((at, nth) => at - state.collections[nth]!);
  expect(waits.slice(0, 3)).toEqual([100, 200, 400]);
  expect(waits.at(-1)).toBe(LONGEST_AGAIN_MS);
  reached.clear();
  await clock.run(2 * LONGEST_AGAIN_MS);
  expect(views.size).toBe(0);
  const { length } = state.collections;
  await clock.run(10 * LONGEST_AGAIN_MS);
  expect(state.collections.length).toBe(length);
});

test("a user's program collects only when somebody waits for room", async () => {
  const { clock, reached, views, state, collector } = limitedWorld(true, "a");
  reached.clear();
  collector.ask(["a"]);
  await clock.run(60_000);
  expect(state.collections).toEqual([]);
  collector.ask([]);
  await clock.run(60_000);
  expect(views.size).toBe(0);
});
