import { describe, expect, test } from "vitest";
import { coldNames, WARM_IDLE_MS, WARM_RETRY_MS, WorkerPool } from "../src/worker-pool.ts";

describe("the worker pool (mechanism 12)", () => {
  test("starts nothing ahead of first use", () => {
    const pool = new WorkerPool();
    expect(pool.request({})).toEqual({ do: "cold" });
    expect(pool.tick(1e9)).toBeUndefined();
  });

  test("keeps at most one blank worker", () => {
    const pool = new WorkerPool();
    expect(pool.expected(0)).toEqual({ do: "prestart" });
    pool.prestarted("worker_a", 0);
    expect(pool.expected(1)).toBeUndefined();
  });

  test("a blank worker is taken, also while it still starts: then the next one is wanted at once", () => {
    const pool = new WorkerPool();
    pool.prestarted("worker_a", 0);
    expect(pool.request({})).toEqual({ do: "take", workerId: "worker_a", next: true });
    expect(pool.request({})).toEqual({ do: "cold" });
    pool.prestarted("worker_b", 0);
    pool.ready("worker_b", 1);
    expect(pool.request({})).toEqual({ do: "take", workerId: "worker_b", next: false });
  });

  test.each(["NODE_OPTIONS", "LD_LIBRARY_PATH", "UV_THREADPOOL_SIZE"])("%s acts at exec alone: cold", (name) => {
    const pool = new WorkerPool();
    pool.prestarted("worker_a", 0);
    expect(pool.request({ [name]: "x" })).toEqual({ do: "cold" });
    expect(pool.blank).toBe("worker_a");
    expect(coldNames({ [name]: "x", RANK: "0" })).toEqual([name]);
  });

  test("an idle blank worker is stopped after 30 s: none in an idle cluster", () => {
    const pool = new WorkerPool();
    pool.prestarted("worker_a", 0);
    expect(pool.tick(WARM_IDLE_MS)).toBeUndefined(); // still starting: its own limit ends it
    pool.ready("worker_a", 1_000);
    expect(pool.tick(1_000 + WARM_IDLE_MS - 1)).toBeUndefined();
    expect(pool.tick(1_000 + WARM_IDLE_MS)).toEqual({ do: "stop", workerId: "worker_a" });
    expect(pool.tick(1e9)).toBeUndefined();
  });

  test("after one that never became ready, none is started for a while", () => {
    const pool = new WorkerPool();
    pool.prestarted("worker_a", 0);
    pool.ended("worker_a", 5);
    expect(pool.expected(6)).toBeUndefined();
    expect(pool.expected(5 + WARM_RETRY_MS)).toEqual({ do: "prestart" });
  });

  test("one that was taken is no business of the pool any more", () => {
    const pool = new WorkerPool();
    pool.prestarted("worker_a", 0);
    pool.request({});
    pool.ended("worker_a", 1);
    expect(pool.expected(2)).toEqual({ do: "prestart" });
  });
});
