import { TaskCancelledError } from "@whipray/core";
import type { ActorSpec } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { ActorExit } from "../src/actor-exit.ts";
import { ActorHost } from "../src/actor-host.ts";
import type { ActorClass } from "../src/actor-methods.ts";
import { CallQueue } from "../src/call-queue.ts";
import { FakeCall } from "./fake-call.ts";

class Base {
  inherited(): string {
    return "base";
  }
}
class Sample extends Base {
  value = 10;
  add(n: number): number {
    this.value += n;
    return this.value;
  }
  _private(): number {
    return 1;
  }
  $system(): number {
    return 1;
  }
  fails(): never {
    throw new RangeError("too far");
  }
  *count(n: number): Generator<number> {
    for (let i = 0; i < n; i++) yield i;
  }
  leaves(): never {
    throw new ActorExit();
  }
}

const WHERE = { node: "node_a", process: "worker_a", actor: "actor_1", pid: 7 };
const spec = (over: Partial<ActorSpec> = {}): ActorSpec =>
  ({ actorId: "actor_1", className: "Sample", maxConcurrency: 0, maxPendingCalls: -1, ...over }) as ActorSpec;
const hosted = (cls: ActorClass = Sample as ActorClass, over: Partial<ActorSpec> = {}, leave = () => {}) =>
  new ActorHost(spec(over), 3, cls, [], leave, WHERE);

async function call(host: ActorHost, method: string, args: unknown[] = [], options = {}): Promise<unknown> {
  const incoming = new FakeCall(method, args, options);
  host.handle(incoming);
  return incoming.done;
}

describe("an actor's methods", () => {
  test("own and inherited ones can be called, and keep state", async () => {
    const host = hosted();
    expect(await call(host, "add", [5])).toBe(15);
    expect(await call(host, "add", [5])).toBe(20);
    expect(await call(host, "inherited")).toBe("base");
  });

  test.each(["constructor", "__proto__", "toString", "hasOwnProperty", "_private", "$system", "value", ""])(
    "B16: %j is not a method",
    async (name) => {
      await expect(call(hosted(), name)).rejects.toMatchObject({ code: "METHOD_NOT_FOUND" });
    },
  );

  test("an error keeps its own class and message", async () => {
    await expect(call(hosted(), "fails")).rejects.toMatchObject({
      ...{ code: "TASK_FAILED", remoteName: "RangeError", message: "too far", where: WHERE },
    });
  });

  test("B15: another epoch is refused, none is fine", async () => {
    await expect(call(hosted(), "add", [1], { epoch: 2 })).rejects.toMatchObject({ code: "STALE_EPOCH" });
    expect(await call(hosted(), "add", [1], { epoch: 3 })).toBe(11);
  });

  test("a generator streams; for a caller that wants one value it is collected", async () => {
    expect(await call(hosted(), "count", [3], { stream: true })).toEqual([0, 1, 2]);
    expect(await call(hosted(), "count", [3])).toEqual([0, 1, 2]);
  });

  test("$ready answers at once, $terminate after the calls before it, exitActor ends the actor", async () => {
    let left = 0;
    const host = hosted(Sample as ActorClass, {}, () => left++);
    expect(await call(host, "$ready")).toBe(null);
    await call(host, "$terminate");
    expect(left).toBe(1);
    await expect(
      call(
        hosted(Sample as ActorClass, {}, () => left++),
        "leaves",
      ),
    ).rejects.toMatchObject({ code: "ACTOR_DIED" });
    expect(left).toBe(2);
  });
});

describe("order and concurrency", () => {
  class Slow {
    running = 0;
    most = 0;
    started: number[] = [];
    async work(n: number): Promise<number> {
      this.started.push(n);
      this.most = Math.max(this.most, ++this.running);
      await new Promise((resolve) => setImmediate(resolve));
      this.running--;
      return this.most;
    }
    async order(): Promise<number[]> {
      return this.started;
    }
  }

  test("ray 3.3: an async class runs calls at once, started in order", async () => {
    const host = hosted(Slow as unknown as ActorClass);
    const most = await Promise.all(Array.from({ length: 20 }, (_, i) => call(host, "work", [i])));
    expect(Math.max(...(most as number[]))).toBe(20);
    expect(await call(host, "order")).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  test("maxConcurrency bounds it; what is cancelled while it waits never runs", async () => {
    const host = hosted(Slow as unknown as ActorClass, { maxConcurrency: 2 });
    const calls = Array.from({ length: 6 }, (_, i) => new FakeCall("work", [i]));
    for (const incoming of calls) host.handle(incoming);
    calls[4]!.abort.abort(new TaskCancelledError({ message: "no" }));
    await expect(calls[4]!.done).rejects.toMatchObject({ code: "CANCELLED" });
    const most = await Promise.all(calls.filter((_, i) => i !== 4).map((incoming) => incoming.done));
    expect(Math.max(...(most as number[]))).toBe(2);
    expect(await call(host, "order")).toEqual([0, 1, 2, 3, 5]);
  });

  test("what is cancelled while it waits is answered at once, whatever runs ahead of it", async () => {
    const queue = new CallQueue(1);
    const gate = Promise.withResolvers<void>();
    const [first, second] = [new FakeCall("work"), new FakeCall("work")];
    let ran = 0;
    const run = (): Promise<void> => {
      ran++;
      return gate.promise;
    };
    for (const incoming of [first, second]) queue.enter({ call: incoming, run });
    second.abort.abort(new TaskCancelledError({ message: "no" }));
    await expect(second.done).rejects.toMatchObject({ code: "CANCELLED" });
    gate.resolve();
    await queue.idle();
    expect(ran).toBe(1);
  });

  test("the queue is bounded: one more is BUSY and does not run", () => {
    const queue = new CallQueue(1, 2);
    const entry = () => ({ call: new FakeCall("work"), run: () => new Promise<void>(() => {}) });
    for (let i = 0; i < 3; i++) queue.enter(entry());
    expect(() => queue.enter(entry())).toThrow(expect.objectContaining({ code: "BUSY" }));
    expect([queue.running, queue.waiting]).toEqual([1, 2]);
  });
});

describe("concurrency groups (ray.md 1.2)", () => {
  class Reader {
    running = new Map<string, number>();
    most: Record<string, number> = {};
    async #work(kind: string): Promise<void> {
      const now = (this.running.get(kind) ?? 0) + 1;
      this.running.set(kind, now);
      this.most[kind] = Math.max(this.most[kind] ?? 0, now);
      await new Promise((resolve) => setImmediate(resolve));
      this.running.set(kind, now - 1);
    }
    read(): Promise<void> {
      return this.#work("read");
    }
    count(): Promise<void> {
      return this.#work("count");
    }
    seen(): Record<string, number> {
      return this.most;
    }
  }
  const reader = () =>
    hosted(Reader as unknown as ActorClass, {
      maxConcurrency: 3,
      concurrencyGroups: { io: 2, one: 1 },
      methods: { read: { concurrencyGroup: "io" } },
    });

  test("each group has a limit of its own, methods in none have maxConcurrency", async () => {
    const host = reader();
    await Promise.all(["read", "count"].flatMap((method) => Array.from({ length: 6 }, () => call(host, method))));
    expect(await call(host, "seen")).toEqual({ read: 2, count: 3 });
  });

  test("a call may name another group", async () => {
    const host = reader();
    await Promise.all(Array.from({ length: 4 }, () => call(host, "count@one")));
    expect(await call(host, "seen")).toEqual({ count: 1 });
  });

  test("a group that is none is refused, in a call and in the declaration", async () => {
    await expect(call(reader(), "count@gpu")).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("its concurrencyGroups are io, one"),
    });
    const bad = { methods: { read: { concurrencyGroup: "gpu" } } };
    expect(() => hosted(Reader as unknown as ActorClass, bad)).toThrow(/no concurrency group "gpu"/);
  });
});

describe("leaving on purpose (ray.md 3.6)", () => {
  class Leaver {
    go: () => void = () => {};
    work(): Promise<string> {
      return new Promise((resolve) => {
        this.go = () => resolve("done");
      });
    }
    async leave(): Promise<never> {
      setImmediate(() => this.go());
      throw new ActorExit();
    }
  }

  test("exitActor: the caller and what waits fail, what runs ends first, then the process goes", async () => {
    let left = 0;
    const host = hosted(Leaver as unknown as ActorClass, { maxConcurrency: 2 }, () => left++);
    const running = call(host, "work");
    const leaving = call(host, "leave");
    const waiting = call(host, "work");
    await expect(leaving).rejects.toMatchObject({ code: "ACTOR_DIED" });
    await expect(waiting).rejects.toMatchObject({ code: "ACTOR_DIED" });
    expect(left).toBe(0);
    await expect(call(host, "work")).rejects.toMatchObject({ code: "ACTOR_DIED" });
    expect(await running).toBe("done");
    await expect.poll(() => left).toBe(1);
  });

  test("terminate: what was called before ends first, also what waits; later calls are refused", async () => {
    const ended: string[] = [];
    class Slow {
      async work(name: string): Promise<void> {
        await new Promise((resolve) => setImmediate(resolve));
        ended.push(name);
      }
    }
    const host = hosted(Slow as unknown as ActorClass, { maxConcurrency: 1 }, () => ended.push("left"));
    const calls = [call(host, "work", ["running"]), call(host, "work", ["waiting"]), call(host, "$terminate")];
    await expect(call(host, "work", ["late"])).rejects.toMatchObject({
      code: "ACTOR_DIED",
      message: expect.stringContaining("terminate()"),
    });
    await Promise.all(calls);
    expect(ended).toEqual(["running", "waiting", "left"]);
  });
});
