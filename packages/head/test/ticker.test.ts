import { SimulatedClock } from "@whipray/core";
import { expect, test } from "vitest";
import { CALM_TICK_MS, PROBE_AFTER_MS, TICK_MS } from "../src/limits.ts";
import { NodeTable } from "../src/node-table.ts";
import { Ticker } from "../src/ticker.ts";
import { TestCluster } from "./cluster.ts";

async function ticksAt(untilMs: number, calmUntilMs: (nowMs: number) => number, hurryAtMs = Infinity) {
  const clock = new SimulatedClock();
  const startMs = clock.now();
  const ticks: number[] = [];
  const ticker = new Ticker(
    clock,
    (nowMs) => ticks.push(nowMs - startMs),
    (nowMs) => startMs + calmUntilMs(nowMs - startMs),
  );
  ticker.start();
  if (Number.isFinite(hurryAtMs)) clock.after(hurryAtMs, () => ticker.hurry());
  await clock.run(untilMs);
  ticker.stop();
  await clock.run(untilMs);
  return ticks;
}

test("ticks come every TICK_MS while something is due, every CALM_TICK_MS otherwise, and none after the stop", async () => {
  expect(await ticksAt(1_000, (nowMs) => nowMs)).toEqual([1, 2, 3, 4].map((n) => n * TICK_MS));
  expect(await ticksAt(3_000, () => Infinity)).toEqual([0, 1, 2].map((n) => TICK_MS + n * CALM_TICK_MS));
});

test("a calm that ends sooner is met on time, and what happens meanwhile within TICK_MS", async () => {
  expect(await ticksAt(900, () => 700)).toEqual([250, 700]);
  expect(await ticksAt(1_000, () => Infinity, 400)).toEqual([TICK_MS, 400 + TICK_MS]);
});

test("nodes that are well are calm until the first of them has been silent for PROBE_AFTER_MS", async () => {
  expect(new NodeTable({ headOutageMs: 1 }).calmUntilMs(5)).toBe(Infinity);
  const cluster = await new TestCluster().start();
  const raylet = await cluster.node("a", { CPU: 1 });
  raylet.kill();
  const startMs = cluster.clock.now();
  await cluster.until("the node is no longer alive", () => cluster.head.status().nodes[0]!.state !== "ALIVE");
  // As soon as with ticks that never pause.
  expect(cluster.clock.now() - startMs).toBeLessThanOrEqual(PROBE_AFTER_MS + 2 * 1_000 + 2 * TICK_MS);
});
