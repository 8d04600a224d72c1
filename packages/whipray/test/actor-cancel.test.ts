import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type ActorHandle,
  type ActorOptions,
  type Cluster,
  init,
  type ObjectRef,
  TaskCancelledError,
} from "../src/index.ts";
import { BUSY_MODULE, busyIn, caught } from "./busy.ts";
import type { Busy, Caller } from "./busy-actor.ts";
import { until } from "./outside.ts";
import type * as tasks from "./sample-tasks.ts";

const TASKS = new URL("./sample-tasks.ts", import.meta.url);
const TEST_MS = 60_000;
let cluster: Cluster;
let folder: string;
beforeAll(async () => {
  cluster = await init({ numCpus: 16 });
  folder = mkdtempSync(join(tmpdir(), "actor-cancel-"));
}, TEST_MS);
afterAll(async () => {
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
});

const busy = (options?: ActorOptions<Busy>): Promise<ActorHandle<Busy>> => busyIn(cluster, options);

describe("cancel of an actor's call by its ref (ray.md 3.6)", () => {
  test("Ray 8.52: before the actor exists, or before its argument is there, it never runs; the next one does", async () => {
    const file = join(folder, "early");
    const blocker = await busy({ numCpus: 16 });
    await cluster.ready(blocker);
    const actor = await busy({ numCpus: 16 });
    const sameTurn = actor.note.remote(file, "same turn");
    cluster.cancel(sameTurn);
    const early = actor.note.remote(file, "before it exists");
    await until("it waits for the actor", async () => (await cluster.actorRow(actor)).state === "PENDING_CREATION");
    cluster.cancel(early);
    const argument = blocker.hold.remote();
    const second = actor.note.remote(file, argument);
    const third = actor.note(file, "third");
    cluster.cancel(second);
    for (const ref of [sameTurn, early, second])
      await expect(cluster.get(ref)).rejects.toBeInstanceOf(TaskCancelledError);
    await blocker.open();
    await cluster.get(argument);
    await cluster.kill(blocker);
    await third;
    expect(readFileSync(file, "utf8")).toBe("third\n");
    await cluster.kill(actor);
  });

  test("one that waits in the actor is dropped, and its caller hears so while the one ahead still runs", async () => {
    const actor = await busy({ maxConcurrency: 1, concurrencyGroups: { gate: 1 } });
    const file = join(folder, "queued");
    const [running, queued, next] = [
      actor.hold.remote(),
      actor.note.remote(file, "no"),
      actor.note.remote(file, "yes"),
    ];
    await until("it runs", () =>
      actor.running
        .options({ concurrencyGroup: "gate" })()
        .then((n) => n === 1),
    );
    cluster.cancel(queued);
    await expect(cluster.get(queued)).rejects.toBeInstanceOf(TaskCancelledError);
    const [, waiting] = await cluster.wait<ObjectRef>([running, next], { numReturns: 2, timeoutMs: 0 });
    expect(waiting).toEqual([running, next]);
    await actor.open.options({ concurrencyGroup: "gate" })();
    await cluster.get<unknown>([running, next]);
    expect(readFileSync(file, "utf8")).toBe("yes\n");
    await cluster.kill(actor);
  });

  test("one that runs sees its signal, and is not tried again; one that is done stays done", async () => {
    const actor = await busy({ maxTaskRetries: -1 });
    const running = actor.untilCancelled.options({ retryExceptions: true }).remote();
    expect(await actor.count()).toBe(1);
    cluster.cancel(running);
    cluster.cancel(running);
    await expect(cluster.get(running)).rejects.toBeInstanceOf(TaskCancelledError);
    expect(await actor.executions()).toBe(1);
    const done = actor.count.remote();
    expect(await cluster.get(done)).toBe(2);
    cluster.cancel(done);
    expect(await cluster.get(done)).toBe(2);
    await cluster.kill(actor);
  });

  test("a coroutine of a Python class is cancelled as asyncio does it", async () => {
    interface Meeting {
      meet(people: number): Promise<number>;
      present(): Promise<number>;
    }
    const pythonPath = [fileURLToPath(new URL("./python", import.meta.url))];
    const meeting = await cluster.actor<Meeting>("tally:Meeting", { pythonPath }).create();
    const alone = meeting.meet.remote(9);
    await until("it waits for the others", async () => (await meeting.present()) === 1);
    cluster.cancel(alone);
    await expect(cluster.get(alone)).rejects.toBeInstanceOf(TaskCancelledError);
    expect(await meeting.present()).toBe(1);
    await cluster.kill(meeting);
  });

  test("force is refused, as is a ref that no call gave", async () => {
    const actor = await busy();
    const ref = actor.hold.remote();
    expect(() => cluster.cancel(ref, { force: true })).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => cluster.cancel(ref, { force: true })).toThrow(/kill\(handle\)/);
    const put = await cluster.put(1);
    expect(() => cluster.cancel(put)).toThrow(/cancel takes a ref that/);
    await actor.open();
    expect(await cluster.get(ref)).toBe("held");
    await cluster.kill(actor);
  });

  test("what the call made, of an actor or a task, is cancelled with it, unless recursive is false", async () => {
    const [caller, other] = await Promise.all([cluster.actor<Caller>(BUSY_MODULE, "Caller").create(), busy()]);
    const go = join(folder, "go");
    for (const [kind, callee] of [["call", other] as const, ["task"] as const]) {
      const [told, spared] = [join(folder, `${kind}-told`), join(folder, `${kind}-spared`)];
      const [both, alone] = [caller.passOn.remote(told, go, callee), caller.passOn.remote(spared, go, callee)];
      await until("both run", () => existsSync(told) && existsSync(spared));
      cluster.cancel(both);
      cluster.cancel(alone, { recursive: false });
      await expect(cluster.get(both)).rejects.toMatchObject({ code: "CANCELLED" });
      await expect(cluster.get(alone)).rejects.toMatchObject({ code: "CANCELLED" });
      await until(`the ${kind} was told`, () => readFileSync(told, "utf8") === "started aborted");
      writeFileSync(go, "");
      await until(`the other ${kind} goes on`, () => readFileSync(spared, "utf8") === "started done");
      rmSync(go);
    }
    await Promise.all([cluster.kill(caller), cluster.kill(other)]);
  });
});

describe("calls of actors in listTasks (ray.md 7.2)", () => {
  test("pending, running, finished and failed ones, with their actor, type and name, filtered; tasks are told apart", async () => {
    const actor = await busy();
    await cluster.ready(actor);
    const { actorId, nodeId, address } = await cluster.actorRow(actor);
    const held = actor.hold.remote();
    await actor.count();
    await caught(actor.flaky(1));
    const never = await busy({ numCpus: 99 });
    const waiting = never.count.remote();
    await cluster.task<typeof tasks.square>(TASKS, "square")(2);
    const mine = await cluster.listTasks({ filters: { actorId } });
    expect(mine.map(({ name, state }) => [name, state]).sort()).toEqual([
      ["Busy.count", "FINISHED"],
      ["Busy.flaky", "FAILED"],
      ["Busy.hold", "RUNNING"],
    ]);
    for (const row of mine) expect(row).toMatchObject({ type: "ACTOR_TASK", nodeId, worker: address, attempt: 0 });
    expect(mine.find(({ state }) => state === "FAILED")?.error).toBe("TASK_FAILED: not yet");
    const pending = { type: "ACTOR_TASK", state: "PENDING_NODE_ASSIGNMENT" } as const;
    expect(await cluster.listTasks({ filters: pending })).toMatchObject([{ name: "Busy.count" }]);
    const plain = await cluster.listTasks({ filters: { type: "NORMAL_TASK", name: "square" } });
    expect(plain).toMatchObject([{ state: "FINISHED" }]);
    expect(plain[0]!.actorId).toBeUndefined();
    cluster.cancel(waiting);
    await expect(cluster.get(waiting)).rejects.toBeInstanceOf(TaskCancelledError);
    expect(await cluster.listTasks({ filters: pending })).toEqual([]);
    await actor.open();
    await cluster.get(held);
    await Promise.all([cluster.kill(actor), cluster.kill(never)]);
  });

  test("a call that runs again counts its attempts; a stream is one row", async () => {
    const actor = await busy({ maxTaskRetries: 2 });
    const { actorId } = await cluster.actorRow(actor);
    expect(await actor.flaky.options({ retryExceptions: true })(2)).toBe(3);
    for await (const item of actor.numbers(2)) expect(item).toBeLessThan(2);
    const rows = await cluster.listTasks({ filters: { actorId } });
    expect(rows.map(({ name, attempt, state }) => [name, attempt, state]).sort()).toEqual([
      ["Busy.flaky", 2, "FINISHED"],
      ["Busy.numbers", 0, "FINISHED"],
    ]);
    await cluster.kill(actor);
  });
});

describe("streams of a method", () => {
  test("timeoutMs and signal hold from the call on, also while the actor has no place", async () => {
    const never = await busy({ numCpus: 99 });
    const items = never.numbers.options({ timeoutMs: 50 })(3)[Symbol.asyncIterator]();
    await expect(items.next()).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED", message: /does not run \(yet\)/ });
    const stop = new AbortController();
    const other = never.numbers.options({ signal: stop.signal })(3)[Symbol.asyncIterator]().next();
    stop.abort();
    await expect(other).rejects.toBeInstanceOf(TaskCancelledError);
    await cluster.kill(never);
  });
});
