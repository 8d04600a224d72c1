import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  ActorDiedError,
  type ActorHandle,
  type ActorOptions,
  type Cluster,
  init,
  PendingCallsLimitExceeded,
  RayTaskError,
  TaskCancelledError,
} from "../src/index.ts";
import { BUSY_MODULE, busyIn, caught } from "./busy.ts";
import type { Busy, Caller, Line } from "./busy-actor.ts";
import { until } from "./outside.ts";

const TEST_MS = 60_000;
let cluster: Cluster;
let folder: string;
beforeAll(async () => {
  cluster = await init({ numCpus: 16 });
  folder = mkdtempSync(join(tmpdir(), "actor-calls-"));
}, TEST_MS);
afterAll(async () => {
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
});

const busy = (options?: ActorOptions<Busy>): Promise<ActorHandle<Busy>> => busyIn(cluster, options);

describe("calls that wait for an answer", () => {
  test("maxPendingCalls is per handle: one more is PendingCallsLimitExceeded, and not sent (ray.md 1.2, 3.4)", async () => {
    const actor = await busy({ maxPendingCalls: 2, name: "pending" });
    await cluster.ready(actor);
    const held = [actor.hold("a"), actor.hold("b")];
    const error = await caught(actor.count());
    expect(error).toBeInstanceOf(PendingCallsLimitExceeded);
    expect(error).toMatchObject({
      code: "PENDING_CALLS_LIMIT",
      retryable: true,
      details: { method: "count", limit: 2 },
    });
    await expect(cluster.get(actor.count.remote())).rejects.toBeInstanceOf(PendingCallsLimitExceeded);
    // Another handle has a count of its own.
    const other = await cluster.getActor<Busy>("pending");
    expect(await other.count()).toBe(1);
    await other.open();
    expect(await Promise.all(held)).toEqual(["a", "b"]);
    expect(await actor.count()).toBe(2);
    await cluster.kill(actor);
  });

  test("of calls that were made before the actor runs, those beyond maxPendingCalls are refused too", async () => {
    const actor = await busy({ maxPendingCalls: 3 });
    const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => actor.count()));
    expect(outcomes.map(({ status }) => status)).toEqual([...Array(3).fill("fulfilled"), ...Array(2).fill("rejected")]);
    await cluster.kill(actor);
  });
});

describe("concurrency (ray.md 1.2)", () => {
  test("an async class runs many calls at once, a plain one runs them one by one in order", async () => {
    const actor = await busy();
    const held = Array.from({ length: 50 }, () => actor.hold());
    await until("all run", async () => (await actor.running()) === 50);
    await actor.open();
    await Promise.all(held);
    const line = await cluster.actor<Line>(BUSY_MODULE, "Line").create();
    const items = Array.from({ length: 100 }, (_, at) => String(at));
    const last = (await Promise.all(items.map((item) => line.push(item)))).at(-1);
    expect(last).toEqual(items);
    await Promise.all([cluster.kill(actor), cluster.kill(line)]);
  });

  test("concurrency groups have limits of their own; a method is in one, a call may name another", async () => {
    const actor = await busy({
      maxConcurrency: 4,
      concurrencyGroups: { io: 2, one: 1 },
      methods: { hold: { concurrencyGroup: "io" } },
    });
    const held = Array.from({ length: 5 }, () => actor.hold());
    // The group is full; methods in none are not held up.
    await until("two run", async () => (await actor.running()) === 2);
    const third = actor.hold.options({ concurrencyGroup: "one" })("third");
    await until("three run", async () => (await actor.running()) === 3);
    await actor.open();
    expect(await third).toBe("third");
    await Promise.all(held);
    expect(await actor.most()).toBe(3);
    await expect(actor.count.options({ concurrencyGroup: "none" })()).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("its concurrencyGroups are io, one"),
    });
    await cluster.kill(actor);
  });

  test("a method that declares a group that is none fails the actor's creation, with the names", async () => {
    const actor = await busy({ concurrencyGroups: { io: 1 }, methods: { hold: { concurrencyGroup: "oi" } } });
    const error = await caught(actor.count());
    expect(error).toBeInstanceOf(ActorDiedError);
    expect((error as Error).message).toContain('no concurrency group "oi"; its concurrencyGroups are io');
  });
});

describe("retries (ray.md 3.2)", () => {
  test("errors of a method are retried only when it says so, by class, and at most maxTaskRetries times", async () => {
    const actor = await busy({ maxTaskRetries: 5 });
    expect(await caught(actor.flaky(2))).toMatchObject({ name: "RayTaskError", remoteName: "RangeError" });
    expect(await actor.executions()).toBe(1);
    const all = actor.flaky.options({ retryExceptions: true });
    expect(await all(3)).toBe(4);
    const some = actor.flaky.options({ retryExceptions: ["RangeError"], maxTaskRetries: 2 });
    expect(await caught(some(100))).toBeInstanceOf(RayTaskError);
    expect(await actor.executions()).toBe(7);
    expect(await caught(some(100, "TypeError"))).toMatchObject({ remoteName: "TypeError" });
    expect(await actor.executions()).toBe(8);
    await cluster.kill(actor);
  });

  test("precedence: the call, then the method, then the actor; other handles know the method's rules", async () => {
    const methods = { flaky: { retryExceptions: true, maxTaskRetries: 1 } } as const;
    await busy({ name: "rules", maxTaskRetries: 7, methods });
    const actor = await cluster.getActor<Busy>("rules");
    expect(await caught(actor.flaky(100))).toBeInstanceOf(RayTaskError);
    expect(await actor.executions()).toBe(2);
    expect(await caught(actor.flaky.options({ maxTaskRetries: 0 })(100))).toBeInstanceOf(RayTaskError);
    expect(await actor.executions()).toBe(3);
    await cluster.kill(actor);
  });

  test(
    "Ray 8.41: with maxTaskRetries −1 and SIGKILL in the middle of 100 calls none fails: 1..k, then 1..100−k",
    async () => {
      const actor = await busy({ maxRestarts: 1, maxTaskRetries: -1, maxConcurrency: 1 });
      const pid = await actor.pid();
      const calls = Array.from({ length: 50 }, () => actor.count());
      await calls[10];
      process.kill(pid, "SIGKILL");
      calls.push(...Array.from({ length: 50 }, () => actor.count()));
      const counts = await Promise.all(calls);
      const again = counts.lastIndexOf(1);
      const upTo = (n: number): number[] => Array.from({ length: n }, (_, at) => at + 1);
      // The kill may come when all of the first were done; then the second start has the rest.
      expect(counts).toEqual([...upTo(again), ...upTo(100 - again)]);
      expect(again).toBeGreaterThan(10);
      await cluster.kill(actor);
    },
    TEST_MS,
  );
});

describe("cancel and deadline", () => {
  test("Ray 8.52: a call that is cancelled before the actor exists, or before its argument, never runs", async () => {
    const file = join(folder, "cancelled");
    const blocker = await busy({ numCpus: 16 });
    await cluster.ready(blocker);
    const actor = await busy({ numCpus: 16 });
    const early = new AbortController();
    const note = caught(actor.note.options({ signal: early.signal })(file, "before it exists"));
    early.abort();
    expect(await note).toBeInstanceOf(TaskCancelledError);
    const ref = blocker.hold.remote();
    const waiting = new AbortController();
    const second = caught(actor.note.options({ signal: waiting.signal })(file, ref));
    const third = actor.note(file, "third");
    waiting.abort();
    expect(await second).toBeInstanceOf(TaskCancelledError);
    await blocker.open();
    await cluster.get(ref);
    await cluster.kill(blocker);
    await third;
    expect(readFileSync(file, "utf8")).toBe("third\n");
    await cluster.kill(actor);
  });

  test("a deadline holds also while the actor has no place", async () => {
    const actor = await busy({ numCpus: 1_000 });
    await expect(actor.count.options({ timeoutMs: 50 })()).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await cluster.kill(actor);
  });

  test("a running async method sees the cancel; its caller gets TaskCancelledError", async () => {
    const actor = await busy();
    const stop = new AbortController();
    const running = caught(actor.untilCancelled.options({ signal: stop.signal })());
    await actor.count();
    stop.abort();
    expect(await running).toBeInstanceOf(TaskCancelledError);
    await until("the method saw it", async () => (await actor.executions()) === 1);
    await cluster.kill(actor);
  });
});

describe("order and callers", () => {
  test("ray.md 3.3: a call whose argument is not ready blocks the following ones of its handle", async () => {
    const [source, line] = await Promise.all([busy(), cluster.actor<Line>(BUSY_MODULE, "Line").create()]);
    const first = line.push(source.hold.remote("late"));
    const second = line.push("early");
    await source.open();
    expect(await second).toEqual(["late", "early"]);
    await first;
    await Promise.all([cluster.kill(source), cluster.kill(line)]);
  });

  test(
    "Ray 8.44: the calls of a caller that restarted are accepted",
    async () => {
      const target = await busy();
      const caller = await cluster
        .actor<Caller>(BUSY_MODULE, "Caller")
        .options({ maxRestarts: 1, maxTaskRetries: -1 })
        .create();
      expect([await caller.count(target), await caller.count(target)]).toEqual([1, 2]);
      const pid = await caller.pid();
      process.kill(pid, "SIGKILL");
      expect(await caller.count(target)).toBe(3);
      expect(await caller.pid()).not.toBe(pid);
      expect(await target.count()).toBe(4);
      await Promise.all([cluster.kill(target), cluster.kill(caller)]);
    },
    TEST_MS,
  );
});

describe("streaming methods", () => {
  test("Ray 8.56: items that came before the actor's death stay readable, the next is ActorDiedError", async () => {
    const actor = await busy();
    const items = actor.endless()[Symbol.asyncIterator]();
    expect((await items.next()).value).toBe(0);
    // The answer comes behind the items that were made before.
    await until("three more were made", async () => (await actor.executions()) > 3);
    await caught(actor.die());
    for (const item of [1, 2, 3]) expect((await items.next()).value).toBe(item);
    const rest = (async () => {
      for (;;) if ((await items.next()).done) return;
    })();
    expect(await caught(rest)).toBeInstanceOf(ActorDiedError);
    expect(await items.next()).toMatchObject({ done: true });
  });

  test("two streams of one handle, read in turns, keep their own order", async () => {
    const actor = await busy();
    const [one, two] = [actor.numbers(50), actor.numbers(50)].map((stream) => stream[Symbol.asyncIterator]());
    for (let at = 0; at < 50; at++) {
      expect((await one!.next()).value).toBe(at);
      expect((await two!.next()).value).toBe(at);
    }
    await cluster.kill(actor);
  });
});
