import { SimulatedClock, seededIds, seededRandom, silentLogger, WhiprayError } from "@whipray/core";
import type { ActorSpec, GroupCreate } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { causeOf } from "../src/actor-record.ts";
import { ActorTable } from "../src/actor-table.ts";
import { GroupTable } from "../src/group-table.ts";
import { JobTable } from "../src/job-table.ts";
import { Journal } from "../src/journal.ts";
import { KvTable } from "../src/kv-table.ts";
import {
  ACTORS_LIMIT,
  BUNDLES_TOTAL_LIMIT,
  DEAD_ACTORS_KEPT,
  GROUPS_LIMIT,
  JOBS_LIMIT,
  KV_BYTES_LIMIT,
  KV_KEYS_LIMIT,
  REMOVED_GROUPS_KEPT,
} from "../src/limits.ts";
import { MemoryStore } from "../src/memory-store.ts";
import { NodeTable } from "../src/node-table.ts";
import { Waiters } from "../src/waiters.ts";

const full = expect.objectContaining({ code: "LIMIT" });
const nodes = new NodeTable({ headOutageMs: 1 });

function group(n: number): GroupCreate {
  return { pgId: `pg_${n}`, jobId: "job_a", namespace: "n", bundles: [{ CPU: 1 }], strategy: "PACK", detached: false };
}

function spec(n: number): ActorSpec {
  return {
    ...{
      actorId: `actor_${n}`,
      jobId: "job_a",
      namespace: "n",
      detached: false,
      className: "C",
      module: "m",
      exportName: "C",
    },
    ...{
      args: [],
      units: {},
      placementUnits: {},
      bundleIndex: -1,
      captureChildTasks: false,
      maxRestarts: 0,
      maxTaskRetries: 0,
    },
    ...{ maxConcurrency: 1, maxPendingCalls: -1, env: {}, isolation: "env" as const, graceMs: 0 },
  };
}

describe("tables are bounded", () => {
  test("placement groups, and removed ones that are remembered", () => {
    const groups = new GroupTable({ starvationMs: 1, epochFloor: 0 });
    for (let n = 0; n < GROUPS_LIMIT; n++) groups.create(group(n), 0, 0);
    expect(() => groups.create(group(GROUPS_LIMIT), 0, 0)).toThrow(full);
    for (let n = 0; n <= REMOVED_GROUPS_KEPT; n++) groups.remove(`pg_${n}`);
    expect(groups.removedError("pg_0")).toBeUndefined();
    expect(() => groups.create(group(1), 0, 0)).toThrow(expect.objectContaining({ code: "PLACEMENT_GROUP_REMOVED" }));
  });

  test("bundles of all groups together", () => {
    const groups = new GroupTable({ starvationMs: 1, epochFloor: 0 });
    const many = Array.from({ length: 10_000 }, () => ({ CPU: 1 }));
    for (let n = 0; n < BUNDLES_TOTAL_LIMIT / 10_000; n++) groups.create({ ...group(n), bundles: many }, 0, 0);
    expect(() => groups.create(group(1_000), 0, 0)).toThrow(full);
    groups.remove("pg_0");
    groups.create(group(1_001), 0, 0);
  });

  test("actors, and dead ones that are remembered", () => {
    const groups = new GroupTable({ starvationMs: 1, epochFloor: 0 });
    const actors = new ActorTable({ ids: seededIds(seededRandom(1)) });
    for (let n = 0; n < ACTORS_LIMIT; n++) actors.create(spec(n), false, groups, 0);
    expect(() => actors.create(spec(ACTORS_LIMIT), false, groups, 0)).toThrow(full);
    const evicted: string[] = [];
    for (let n = 0; n <= DEAD_ACTORS_KEPT; n++) {
      for (const effect of actors.kill(`actor_${n}`, causeOf("RAY_KILL", "x"), true, nodes, 0)) {
        if (effect.kind === "delete") evicted.push(effect.actorId);
      }
    }
    expect(evicted).toEqual(["actor_0"]);
  });

  test("constructor arguments", () => {
    const groups = new GroupTable({ starvationMs: 1, epochFloor: 0 });
    const actors = new ActorTable({ ids: seededIds(seededRandom(1)) });
    const args = [new Uint8Array(6_000_000), new Uint8Array(6_000_000)];
    expect(() => actors.create({ ...spec(1), args }, false, groups, 0)).toThrow(
      expect.objectContaining({ code: "PAYLOAD_TOO_LARGE" }),
    );
  });

  test("jobs", () => {
    const jobs = new JobTable({ driverGraceMs: 1 });
    const open = (n: number) => jobs.open({ jobId: `job_${n}`, pid: 1, hostname: "h", entrypoint: "e" }, {}, 0);
    for (let n = 0; n < JOBS_LIMIT; n++) open(n);
    expect(() => open(JOBS_LIMIT)).toThrow(full);
    expect(open(0).created).toBe(false);
  });

  test("keys and bytes of the KV", () => {
    const kv = new KvTable();
    const put = (key: string, value: Uint8Array) => kv.put({ namespace: "n", key, value }, true, undefined, 0);
    const none = new Uint8Array(0);
    for (let n = 0; n < KV_KEYS_LIMIT; n++) put(`k${n}`, none);
    expect(() => put("more", none)).toThrow(full);
    const large = new KvTable();
    const chunk = new Uint8Array(KV_BYTES_LIMIT / 256);
    const add = (key: string) => large.put({ namespace: "n", key, value: chunk }, true, undefined, 0);
    for (let n = 0; n < 255; n++) add(`k${n}`);
    expect(() => add("last")).toThrow(full);
    large.remove("n\nk0");
    add("last");
    add("last");
  });
});

describe("KV", () => {
  test("overwrite, prefix, time to live", () => {
    const kv = new KvTable();
    const put = (key: string, overwrite: boolean, ttlMs?: number) =>
      kv.put({ namespace: "n", key, value: Uint8Array.of(1) }, overwrite, ttlMs, 0);
    expect(put("a/1", false)).toEqual({ before: undefined });
    expect(put("a/1", false)).toBeUndefined();
    put("a/2", true, 100);
    put("b", true);
    expect(kv.keys("n", "a/", 50)).toEqual(["a/1", "a/2"]);
    expect(kv.keys("n", "a/", 100)).toEqual(["a/1"]);
    expect(kv.keys("other", "", 0)).toEqual([]);
    expect(kv.ended(100)).toEqual(["n\na/2"]);
    expect(kv.get("n\na/2", 100)).toBeUndefined();
    expect(kv.put({ namespace: "n", key: "a/2", value: Uint8Array.of(2) }, false, undefined, 100)).toBeDefined();
  });
});

describe("waiters", () => {
  const never = new AbortController().signal;

  test("are bounded, and end by wake, time, or abort; none is left", async () => {
    const clock = new SimulatedClock();
    const waiters = new Waiters(clock, 3);
    let value: number | undefined;
    const abort = new AbortController();
    const woken = waiters.until("k", undefined, never, () => value);
    const timed = waiters.until("other", 100, never, () => undefined);
    const aborted = waiters.until("k", undefined, abort.signal, () => undefined);
    await expect(waiters.until("k", 10, never, () => undefined)).rejects.toMatchObject({
      code: "BUSY",
      retryable: true,
    });
    expect(await waiters.until("k", 0, never, () => undefined)).toBeUndefined();
    abort.abort(new WhiprayError({ code: "CANCELLED", message: "caller is gone" }));
    await expect(aborted).rejects.toMatchObject({ code: "CANCELLED" });
    await clock.run(100);
    expect(await timed).toBeUndefined();
    value = 7;
    waiters.wake("k");
    expect(await woken).toBe(7);
    expect(waiters.size).toBe(0);
  });

  test("a look that throws ends its wait with that error", async () => {
    const waiters = new Waiters(new SimulatedClock());
    let gone = false;
    const waiting = waiters.until("k", undefined, never, () => {
      if (gone) throw new WhiprayError({ code: "NOT_FOUND", message: "gone" });
      return undefined;
    });
    gone = true;
    waiters.wake("k");
    await expect(waiting).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("journal", () => {
  test("a change that could not be stored is tried until it is, with its latest value", async () => {
    const clock = new SimulatedClock();
    const disk = new Map();
    let broken = true;
    const before = (): void => {
      if (broken) throw new WhiprayError({ code: "STORAGE_FULL", message: "no room" });
    };
    const journal = new Journal(new MemoryStore(disk, { before }), clock, silentLogger);
    let value = 1;
    journal.source("meta", () => value);
    let saved = false;
    const save = journal.save("meta", "k").then(() => {
      saved = true;
    });
    await expect(journal.orFail(save)).rejects.toMatchObject({ code: "STORAGE_FULL" });
    value = 2;
    void journal.save("meta", "k");
    await clock.run(5_000);
    expect(saved).toBe(false);
    broken = false;
    await clock.run(1_000);
    expect(saved).toBe(true);
    expect(journal.trouble).toBeUndefined();
    const contents = await new MemoryStore(disk).load();
    expect(contents.meta.get("k")).toBe(2);
    await journal.close();
  });
});
