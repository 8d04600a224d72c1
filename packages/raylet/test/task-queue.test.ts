import { describe, expect, test } from "vitest";
import { TaskQueue, type WaitingLease } from "../src/task-queue.ts";

const request = (leaseId: string, shape: string): WaitingLease => ({ leaseId, shape });
const ids = (granted: readonly WaitingLease[]): string[] => granted.map(({ leaseId }) => leaseId);

describe("requests for task workers", () => {
  test("are granted first come, first served while there is room", () => {
    const queue = new TaskQueue();
    for (const leaseId of ["a", "b", "c"]) queue.add(request(leaseId, "1 CPU"));
    let room = 2;
    const acquire = () => (room-- > 0 ? { ok: true as const } : { ok: false as const, reason: "0 CPU free" });
    expect(ids(queue.grant(acquire))).toEqual(["a", "b"]);
    expect(queue.why("a")).toBeUndefined();
    expect(queue.why("c")).toBe("0 CPU free");
    room = 1;
    expect(ids(queue.grant(acquire))).toEqual(["c"]);
    expect(queue.length).toBe(0);
  });

  test("of a shape that waits do not hold up another shape, and the ledger is asked once for each", () => {
    const queue = new TaskQueue();
    queue.add(request("gpu 1", "GPU"));
    queue.add(request("gpu 2", "GPU"));
    queue.add(request("cpu", "CPU"));
    const asked: string[] = [];
    const granted = queue.grant(({ leaseId, shape }) => {
      asked.push(leaseId);
      return shape === "CPU" ? { ok: true } : { ok: false, reason: "0 GPU free" };
    });
    expect(ids(granted)).toEqual(["cpu"]);
    expect(asked).toEqual(["gpu 1", "cpu"]);
  });

  test("that are withdrawn are never granted", () => {
    const queue = new TaskQueue();
    queue.add(request("a", "CPU"));
    expect(queue.why("a")).toBe("it has just come");
    expect([queue.withdraw("a"), queue.withdraw("a")]).toEqual([true, false]);
    expect(queue.grant(() => ({ ok: true }))).toEqual([]);
  });
});
