import { TaskCancelledError } from "@whipray/core";
import type { ActorSpec } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { ActorExit, ActorHost } from "../src/actor-host.ts";
import type { ActorClass } from "../src/actor-methods.ts";
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

  test("maxPendingCalls: one more is BUSY and does not run", async () => {
    const host = hosted(Slow as unknown as ActorClass, { maxConcurrency: 1, maxPendingCalls: 2 });
    const calls = [0, 1, 2].map((n) => call(host, "work", [n]));
    await expect(call(host, "work", [3])).rejects.toMatchObject({ code: "BUSY" });
    await Promise.all(calls);
  });
});
