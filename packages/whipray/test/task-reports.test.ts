import { SimulatedClock } from "@whipray/core";
import { TASK_REPORT_LIMIT, type TaskRow } from "@whipray/rpc";
import { expect, test } from "vitest";
import type { Driver } from "../src/driver.ts";
import { TaskReports } from "../src/task-reports.ts";

const SECOND_MS = 1_000;

function reporting() {
  const clock = new SimulatedClock();
  const told: { rows: TaskRow[]; left: number }[] = [];
  const head = {
    away: false,
    async invoke(_: unknown, report: { rows: TaskRow[]; left: number }): Promise<void> {
      if (head.away) throw new Error("the head is away");
      told.push(report);
    },
  };
  const logger = { debug: () => {} };
  const connection = { clock, logger, endpoint: { incarnation: "inc_a" } };
  const reports = new TaskReports({ connection, head, jobId: "job_a" } as unknown as Driver);
  return { clock, told, head, reports };
}

test(`of more than ${TASK_REPORT_LIMIT} calls of actors a second the first have a row, the others are counted`, async () => {
  const { clock, told, reports } = reporting();
  for (let at = 0; at < TASK_REPORT_LIMIT; at++) reports.call("Counter.add", "actor_a")?.ended();
  expect(reports.call("Counter.add", "actor_a")).toBeUndefined();
  expect(reports.call("Counter.add", "actor_a")).toBeUndefined();
  await clock.run(SECOND_MS);
  expect(told.map(({ rows, left }) => [rows.length, left])).toEqual([[TASK_REPORT_LIMIT, 2]]);
  expect(told[0]!.rows[0]).toMatchObject({
    name: "Counter.add",
    type: "ACTOR_TASK",
    actorId: "actor_a",
    state: "FINISHED",
  });
  expect(reports.call("Counter.add", "actor_a")).toBeDefined();
});

test("one report has at most so many rows: who runs first, then who failed; the rest is counted", async () => {
  const { clock, told, reports } = reporting();
  for (let at = 0; at < TASK_REPORT_LIMIT; at++) reports.task("quick", reports.number()).ended();
  reports.task("failed", reports.number()).ended(new Error("no"));
  reports.call("Counter.add", "actor_a")!.running("node_a", "node_a/worker_a");
  await clock.run(SECOND_MS);
  const [{ rows, left }] = told as [(typeof told)[0]];
  expect([rows.length, left]).toEqual([TASK_REPORT_LIMIT, 2]);
  expect(rows.slice(0, 2)).toMatchObject([
    { name: "Counter.add", state: "RUNNING", worker: "node_a/worker_a" },
    { name: "failed", type: "NORMAL_TASK", state: "FAILED", error: "INTERNAL: no" },
  ]);
});

test("what a head that is away was not told, it is told later; after close nobody is told and no timer runs", async () => {
  const { clock, told, head, reports } = reporting();
  head.away = true;
  reports.task("early", reports.number()).ended();
  await clock.run(2 * SECOND_MS);
  expect(told).toEqual([]);
  head.away = false;
  await clock.run(2 * SECOND_MS);
  expect(told.map(({ rows }) => rows.map(({ name }) => name))).toEqual([["early"]]);
  const late = reports.task("late", reports.number());
  reports.close();
  late.ended();
  await clock.run(5 * SECOND_MS);
  expect(told.length).toBe(1);
});
