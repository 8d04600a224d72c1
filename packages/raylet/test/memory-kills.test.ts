import { SimulatedClock } from "@whipray/core";
import { expect, test } from "vitest";
import { deathCause } from "../src/death-cause.ts";
import { MEMORY_KILL_MS, MemoryKills } from "../src/memory-kills.ts";
import { MemoryLog } from "../src/memory-logs.ts";

const KILLED = { code: null, signal: "SIGKILL" };

function counted(start: number | undefined) {
  const clock = new SimulatedClock();
  const kernel = { count: start };
  return { clock, kernel, kills: new MemoryKills(clock, () => kernel.count) };
}

test("a SIGKILL that follows on an end that the kernel counted is out of memory, each end once; other exits are what they are", () => {
  const { kernel, kills } = counted(7);
  expect(kills.judged(KILLED)).toEqual(KILLED);
  kernel.count = 8;
  expect(kills.judged({ code: 3, signal: null })).toEqual({ code: 3, signal: null });
  expect(kills.judged({ code: null, signal: "SIGTERM" })).toEqual({ code: null, signal: "SIGTERM" });
  expect(kills.judged(KILLED)).toEqual({ ...KILLED, outOfMemory: true });
  expect(kills.judged(KILLED)).toEqual(KILLED);
  kills.close();
});

test("an end that the kernel counted longer ago explains nothing, also when nobody ended meanwhile", async () => {
  const { clock, kernel, kills } = counted(0);
  kernel.count = 2;
  await clock.run(MEMORY_KILL_MS);
  expect(kills.judged(KILLED)).toMatchObject({ outOfMemory: true });
  await clock.run(2 * MEMORY_KILL_MS);
  expect(kills.judged(KILLED)).toEqual(KILLED);
  kills.close();
});

test("where the kernel does not tell, nothing is guessed and no timer runs", async () => {
  const { clock, kills } = counted(undefined);
  expect(kills.judged(KILLED)).toEqual(KILLED);
  await clock.run(MEMORY_KILL_MS);
  kills.close();
});

test("the cause of such a death says so, where it would else be a worker's", () => {
  const corpse = { nodeId: "node_a", pid: 5, exit: { ...KILLED, outOfMemory: true }, log: new MemoryLog("memory:a") };
  const cause = deathCause("WORKER_DIED", "worker process 5 ended with signal SIGKILL", corpse);
  expect(cause).toMatchObject({ kind: "OUT_OF_MEMORY", signal: "SIGKILL" });
  expect(cause.message).toContain("SIGKILL: the kernel ended it for want of memory");
  expect(deathCause("RAY_KILL", "killed", corpse)).toMatchObject({ kind: "RAY_KILL", message: "killed" });
});
