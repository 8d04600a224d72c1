import { delay, systemClock, TaskCancelledError, WhiprayError } from "@whipray/core";
import { decodeValues, encodeValues, type IncomingCall, type Peer } from "@whipray/rpc";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineProcess } from "../src/index.ts";
import { EngineWorld, NODE } from "./engine-world.ts";

let world: EngineWorld;
let engine: EngineProcess;
let caller: Peer;
let handle: (call: IncomingCall) => void | Promise<void>;

// A caller at the raylet's endpoint calls the worker, which passes everything on to its engine.
beforeEach(async () => {
  world = new EngineWorld();
  world.serveEngine = (endpoint) => endpoint.onCall((call) => void handle(call));
  engine = await EngineProcess.launch(world.launcher, { logName: "x" });
  world.worker.onCall((call) => void engine.forward(call, `host.${call.method}`));
  caller = world.raylet.connect({ to: `${NODE}/worker_a`, url: "memory:worker", purpose: "data" });
});
afterEach(() => world.close());

test("parts pass through as they are, under the host's method", async () => {
  let seen: IncomingCall | undefined;
  handle = (call) => {
    seen = call;
    call.reply([call.parts[1] as Uint8Array, call.parts[0] as Uint8Array]);
  };
  const parts = [new Uint8Array([0xc1]), new Uint8Array(300_000).fill(7)];
  const reply = await caller.call("call", parts, { traceparent: "00-a-b-01" });
  expect(seen?.method).toBe("host.call");
  expect(seen?.traceparent).toBe("00-a-b-01");
  expect(reply.map((part) => part.length)).toEqual([300_000, 1]);
});

test("calls reach the engine in the order in which they came", async () => {
  const order: unknown[] = [];
  handle = (call) => {
    order.push(decodeValues(call.parts));
    call.reply(encodeValues(null));
  };
  await Promise.all(Array.from({ length: 50 }, (_, i) => caller.call("call", encodeValues(i))));
  expect(order).toEqual(Array.from({ length: 50 }, (_, i) => i));
});

test("an error keeps its class name, message and traceback", async () => {
  handle = (call) => call.fail(new RangeError("lr must be positive"));
  await expect(caller.call("call", encodeValues(null))).rejects.toMatchObject({
    remoteName: "RangeError",
    message: "lr must be positive",
    remoteStack: expect.stringContaining("forward.test"),
  });
});

test("a cancel reaches the engine, whose word is the answer", async () => {
  const abort = new AbortController();
  handle = (call) => {
    call.signal.addEventListener("abort", () => call.fail(new TaskCancelledError({ message: "stopped at step 3" })));
    abort.abort();
  };
  await expect(caller.call("call", encodeValues(null), { signal: abort.signal })).rejects.toMatchObject({
    code: "CANCELLED",
    message: "stopped at step 3",
  });
});

test("the caller's deadline cancels at the engine", async () => {
  const cancelled = Promise.withResolvers<void>();
  handle = (call) => call.signal.addEventListener("abort", () => cancelled.resolve());
  await expect(caller.call("call", encodeValues(null), { timeoutMs: 20 })).rejects.toMatchObject({
    code: "DEADLINE_EXCEEDED",
  });
  await cancelled.promise;
});

test("a slow reader slows the engine's generator down", async () => {
  let produced = 0;
  handle = async (call) => {
    for (; produced < 2_000; produced++) await call.item(encodeValues(produced));
    call.end(encodeValues("end"));
  };
  const items = caller.stream("call", encodeValues(null));
  expect(decodeValues((await items.next()).value)).toBe(0);
  await delay(systemClock, 50);
  expect(produced).toBeLessThan(400);
  let count = 1;
  let step = await items.next();
  for (; !step.done; step = await items.next()) count++;
  expect(count).toBe(2_000);
  expect(decodeValues(step.value)).toBe("end");
});

test("a reader that leaves ends the engine's generator", async () => {
  const left = Promise.withResolvers<unknown>();
  handle = async (call) => {
    try {
      for (let i = 0; ; i++) await call.item(encodeValues(i));
    } catch (error) {
      left.resolve(error);
      call.fail(error);
    }
  };
  for await (const item of caller.stream("call", encodeValues(null))) if (decodeValues(item) === 3) break;
  expect(await left.promise).toBeInstanceOf(WhiprayError);
});
