import { SimulatedClock } from "@whipray/core";
import { expect, test } from "vitest";
import { deathCause } from "../src/death-cause.ts";
import { MEMORY_KILL_MS, MemoryKills } from "../src/memory-kills.ts";
import { MemoryLog } from "../src/memory-logs.ts";

const PID = 5;
const KILLED = { code: null, signal: "SIGKILL" };

function counted(start: number | undefined, took?: number) {
  const clock = new SimulatedClock();
  const kernel = { count: start };
  const source = { count: () => kernel.count, took: (pid: number) => (took === undefined ? undefined : took === pid) };
  return { clock, kernel, kills: new MemoryKills(clock, source) };
}

test("a SIGKILL that follows on an end that the kernel counted is out of memory, each end once; other exits are what they are", () => {
  const { kernel, kills } = counted(7);
  expect(kills.judged(PID, KILLED)).toEqual(KILLED);
  kernel.count = 8;
  expect(kills.judged(PID, { code: 3, signal: null })).toEqual({ code: 3, signal: null });
  expect(kills.judged(PID, { code: null, signal: "SIGTERM" })).toEqual({ code: null, signal: "SIGTERM" });
  expect(kills.judged(PID, KILLED)).toEqual({ ...KILLED, outOfMemory: true });
  expect(kills.judged(PID, KILLED)).toEqual(KILLED);
  kills.close();
});

test("an end that the kernel counted longer ago explains nothing, also when nobody ended meanwhile", async () => {
  const { clock, kernel, kills } = counted(0);
  kernel.count = 2;
  await clock.run(MEMORY_KILL_MS);
  expect(kills.judged(PID, KILLED)).toMatchObject({ outOfMemory: true });
  await clock.run(2 * MEMORY_KILL_MS);
  expect(kills.judged(PID, KILLED)).toEqual(KILLED);
  kills.close();
});

test("where the kernel says whom it took, nobody else was", () => {
  const { kernel, kills } = counted(0, PID);
  kernel.count = 1;
  expect(kills.judged(PID + 1, KILLED)).toEqual(KILLED);
  expect(kills.judged(PID, KILLED)).toMatchObject({ outOfMemory: true });
  kills.close();
});

test("where the kernel does not tell, nothing is guessed and no timer runs", async () => {
  const { clock, kills } = counted(undefined);
  expect(kills.judged(PID, KILLED)).toEqual(KILLED);
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
