import type { TaskRow } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { TaskTable } from "../src/task-table.ts";

function row(taskId: string, state: TaskRow["state"], more: Partial<TaskRow> = {}): TaskRow {
  return { taskId, jobId: "job_a", name: "square", type: "NORMAL_TASK", state, attempt: 0, createdMs: 1, ...more };
}

const ids = (table: TaskTable, filter = {}, limit = 100) => table.list(filter, limit).tasks.map(({ taskId }) => taskId);

describe("the head's table of tasks", () => {
  test("has the last word on each, the living first, then the latest that ended", () => {
    const table = new TaskTable(10);
    table.report([row("task_1", "RUNNING"), row("task_2", "RUNNING"), row("task_3", "RUNNING")], 0);
    table.report([row("task_2", "FINISHED"), row("task_1", "FAILED", { error: "TASK_FAILED: no" })], 4);
    expect(ids(table)).toEqual(["task_3", "task_1", "task_2"]);
    expect(table.list({ state: "FAILED" }, 10)).toMatchObject({
      tasks: [{ taskId: "task_1", error: "TASK_FAILED: no" }],
      total: 1,
      left: 4,
    });
  });

  test("filters by all that is named, and says how many match beyond the limit", () => {
    const table = new TaskTable(10);
    const rows = ["task_1", "task_2", "task_3"].map((taskId) => row(taskId, "RUNNING", { nodeId: "node_a" }));
    table.report([...rows, row("task_4", "RUNNING", { nodeId: "node_b" })], 0);
    expect(table.list({ nodeId: "node_a", name: "square" }, 2)).toMatchObject({ total: 3 });
    expect(ids(table, { nodeId: "node_b" })).toEqual(["task_4"]);
    expect(ids(table, { nodeId: "node_b", name: "other" })).toEqual([]);
  });

  test("is bounded: those that ended longest ago go first", () => {
    const table = new TaskTable(3);
    table.report([row("task_1", "RUNNING"), row("task_2", "FINISHED"), row("task_3", "FINISHED")], 0);
    table.report([row("task_4", "FINISHED"), row("task_5", "RUNNING")], 0);
    expect(ids(table)).toEqual(["task_1", "task_5", "task_4"]);
    table.report([row("task_6", "RUNNING"), row("task_7", "RUNNING")], 0);
    expect(ids(table)).toEqual(["task_5", "task_6", "task_7"]);
  });

  test("ends what a job left behind", () => {
    const table = new TaskTable(10);
    table.report([row("task_1", "RUNNING"), row("task_2", "RUNNING", { jobId: "job_b" })], 0);
    table.jobEnded("job_a", 77);
    expect(table.list({ jobId: "job_a" }, 10).tasks).toMatchObject([{ state: "FAILED", endedMs: 77 }]);
    expect(ids(table, { state: "RUNNING" })).toEqual(["task_2"]);
  });
});
