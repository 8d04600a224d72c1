import { SimulatedClock, settle } from "@whipray/core";
import type { Peer } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import type { ActorMethod } from "../src/actor-methods.ts";
import { TaskHost } from "../src/task-host.ts";
import { BLOCKED_AFTER_MS, TaskWaits } from "../src/task-waits.ts";
import { FakeCall } from "./fake-call.ts";

const PEER = {} as Peer;

/** A host with one function `fn1`, known to `PEER`. */
async function hostOf(run: ActorMethod) {
  const clock = new SimulatedClock();
  const told: boolean[] = [];
  const waits: TaskWaits = new TaskWaits(clock, (blocked) => {
    told.push(blocked);
    if (blocked) host.handBack();
  });
  const loaded: string[] = [];
  const host: TaskHost = new TaskHost({
    loadFunction: async ({ exportName }) => {
      loaded.push(exportName);
      if (exportName === "missing") throw new Error("no such export");
      return run;
    },
    ...{ revive: undefined, objects: undefined, waits, where: { node: "node_a", process: "worker_a", pid: 7 } },
  });
  const define = (exportName: string, peer = PEER) =>
    host.define(peer, { fnId: "fn1", module: "file:///m.ts", exportName, name: exportName, units: {} });
  await define("run");
  const call = (...args: unknown[]): FakeCall => {
    const made = new FakeCall("fn1:1", args, { peer: PEER });
    host.handle(made);
    return made;
  };
  return { clock, told, waits, loaded, host, define, call };
}

describe("a worker that runs tasks", () => {
  test("runs one at a time, in order; what is cancelled in the queue never runs", async () => {
    const ran: number[] = [];
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const { call } = await hostOf(async (n) => {
      ran.push(n as number);
      await gates[n as number]?.promise;
      return n;
    });
    const [first, second, third] = [call(0), call(1), call(2)];
    await settle();
    expect(ran).toEqual([0]);
    second!.abort.abort(new Error("not wanted"));
    gates[0]!.resolve();
    expect([await first!.done, await third!.done]).toEqual([0, 2]);
    await expect(second!.done).rejects.toThrow("not wanted");
    expect(ran).toEqual([0, 2]);
  });

  test("loads a function once for all sessions, and answers none that its session did not define", async () => {
    const { define, loaded, host } = await hostOf((n) => n);
    const other = {} as Peer;
    const early = new FakeCall("fn1:1", [1], { peer: other });
    host.handle(early);
    await expect(early.done).rejects.toMatchObject({ code: "METHOD_NOT_FOUND" });
    await define("run", other);
    expect(loaded).toEqual(["run"]);
    await expect(define("missing")).rejects.toThrow("no such export");
    await expect(define("missing")).rejects.toThrow("no such export");
    expect(loaded).toEqual(["run", "missing", "missing"]);
  });

  test("hands back what waits behind a task that waits, and what comes meanwhile", async () => {
    const gate = Promise.withResolvers<string>();
    let waits: TaskWaits | undefined;
    const node = await hostOf(() => waits!.until(gate.promise));
    waits = node.waits;
    const [first, behind] = [node.call(), node.call()];
    await node.clock.run(BLOCKED_AFTER_MS);
    expect(node.told).toEqual([true]);
    await expect(behind!.done).rejects.toMatchObject({ code: "TASK_RETURNED", retryable: true });
    await expect(node.call().done).rejects.toMatchObject({ code: "TASK_RETURNED" });
    gate.resolve("done");
    expect(await first!.done).toBe("done");
    await settle();
    expect(node.told).toEqual([true, false]);
  });

  test("a short wait is none, nor is what an earlier task still waits for", async () => {
    const gate = Promise.withResolvers<number>();
    let waits: TaskWaits | undefined;
    const {
      clock,
      told,
      call,
      waits: own,
    } = await hostOf((how) => {
      const work = waits!.until(gate.promise);
      return how === "leaves" ? "left" : work;
    });
    waits = own;
    expect(await call("leaves").done).toBe("left");
    await clock.run(BLOCKED_AFTER_MS);
    const next = call("waits");
    gate.resolve(1);
    expect(await next.done).toBe(1);
    await clock.run(BLOCKED_AFTER_MS);
    expect(told).toEqual([]);
  });
});
