import { existsSync } from "node:fs";
import { WorkerFailedError } from "@whipray/scheduler";
import { expect } from "vitest";
import type { Cluster } from "whipray";
import { Deadline } from "../../../scripts/vitest/deadline.ts";
import { anyRuns, runs, until } from "./outside.ts";
import { DEATH_MS, GUARD_MS, PATIENCE_MS, type Place, Rank, rayletAt, type Stage } from "./stage.ts";

// What must be true when one process dies, whatever the road by which the driver sees it: on the cluster's machine, or behind a tunnel.

/** P1: a crashed node that the head can dial is dead for it; and what the look takes. */
export const CRASHED_MS = 3_000 + 500;
/** P2: a node that is silent, and cannot be asked why, is dead for the head; and what the look takes. */
export const SILENT_NODE_MS = 10_000 + 500;

export type When = "idle" | "busy";

/** F21: the call fails with signal, last words and log; what the engine had is gone; its worker lives; the role can be made anew. */
export async function engineKilled(stage: Stage, when: When): Promise<void> {
  const rank = await Rank.start(stage, "engine", "far");
  const { outcome } = when === "busy" ? await rank.running(600) : { outcome: undefined };
  const planted = outcome === undefined ? await rank.plant() : undefined;
  process.kill(rank.engine, "SIGKILL");
  const failed = await (outcome ?? rank.call("pid").catch((error: unknown) => error));
  expect(failed).toBeInstanceOf(WorkerFailedError);
  const { exitCode, where, stderr } = failed as WorkerFailedError;
  expect(exitCode).toBe(-9);
  expect(where).toMatchObject({ signal: "SIGKILL", node: rayletAt(stage.real, "far").nodeId });
  expect(existsSync(where!.logPath!)).toBe(true);
  expect(stderr).toContain(outcome ? "last words of engine-0.600" : "a probe is up");
  await until("the guard and what the engine had planted are gone", DEATH_MS, () =>
    [rank.guard, ...(planted === undefined ? [] : [planted])].every((pid) => !runs(pid)),
  );
  expect(runs(rank.worker)).toBe(true);
  // The engine is what the worker is for: the scheduler says that it is lost, and the role is made anew.
  await expect(stage.scheduler.createEngine("engine/0", "probe_engines.Probe")).rejects.toThrow(WorkerFailedError);
  await expect(stage.scheduler.getWorkers("engine")).rejects.toThrow(WorkerFailedError);
  await stage.scheduler.deleteWorkers("engine");
  expect(await (await Rank.start(stage, "engine", "far")).call("echo", ["new"])).toBe("new");
}

/** F3: engine and grandchild are gone in 2 s, the call fails, the worker lives. */
export async function guardKilled(stage: Stage, when: When): Promise<void> {
  const rank = await Rank.start(stage, "guard", "far");
  const planted = await rank.plant();
  const { outcome } = when === "busy" ? await rank.running(600) : { outcome: undefined };
  process.kill(rank.guard, "SIGKILL");
  await until("the engine and the planted grandchild are gone", GUARD_MS, () => !anyRuns([rank.engine, planted]));
  const failed = await (outcome ?? rank.call("pid").catch((error: unknown) => error));
  expect(failed).toBeInstanceOf(WorkerFailedError);
  expect(runs(rank.worker)).toBe(true);
}

/** Its engine and what that planted are gone, the caller hears of the signal. */
export async function workerKilled(stage: Stage, when: When): Promise<void> {
  const rank = await Rank.start(stage, "worker", "far");
  const planted = await rank.plant();
  const { outcome } = when === "busy" ? await rank.running(600) : { outcome: undefined };
  process.kill(rank.worker, "SIGKILL");
  const failed = await (outcome ?? rank.call("pid").catch((error: unknown) => error));
  expect(failed).toMatchObject({ name: "WorkerFailedError", workerId: "worker/0", exitCode: -9 });
  await until("engine, guard and grandchild are gone", DEATH_MS, () => !anyRuns([rank.engine, rank.guard, planted]));
}

/** F1: all of it is gone in 10 s, the caller hears of the node, the other node works on; it comes back. @param knownMs the head's time to know */
export async function rayletKilled(stage: Stage, place: Place, when: When, knownMs: number): Promise<void> {
  const { real, cluster, scheduler } = stage;
  const lost = await Rank.start(stage, "lost", place);
  const kept = await Rank.start(stage, "kept", place === "near" ? "far" : "near");
  const planted = await lost.plant();
  const { outcome } = when === "busy" ? await lost.running(600) : { outcome: undefined };
  const raylet = rayletAt(real, place);
  await raylet.kill();
  const known = new Deadline(knownMs);
  await until("its engine is gone", GUARD_MS, () => !anyRuns([lost.engine]));
  await until("the head knows", known, async () => (await nodeState(cluster, raylet.nodeId)) === "DEAD");
  const failed = await (outcome ?? lost.call("pid").catch((error: unknown) => error));
  expect(failed).toBeInstanceOf(WorkerFailedError);
  expect(String(failed)).toContain(raylet.nodeId);
  await until(
    "worker, guard and planted grandchild are gone",
    DEATH_MS,
    () => !anyRuns([lost.engine, lost.guard, lost.worker, planted]),
  );
  expect(await kept.call("echo", ["works"])).toBe("works");
  await scheduler.deleteWorkers("lost");
  await raylet.restart();
  await until("it is back", PATIENCE_MS, async () => (await nodeState(cluster, raylet.nodeId)) === "ALIVE");
  expect(await (await Rank.start(stage, "lost", place)).call("echo", ["again"])).toBe("again");
}

/** A head that all calls go through: what ran, waited or came meanwhile returns after its restart, each ran once, and all is found again. */
export async function headKilled(stage: Stage): Promise<void> {
  const { real, cluster } = stage;
  const ranks = [await Rank.start(stage, "near", "near"), await Rank.start(stage, "far", "far")];
  const pids = [
    ...real.raylets.map(({ pid }) => pid),
    ...ranks.flatMap(({ engine, guard, worker }) => [engine, guard, worker]),
  ];
  const running = await Promise.all(ranks.map((rank) => rank.running(1, "running")));
  const record = (when: string): Promise<unknown>[] =>
    ranks.flatMap((rank) => Array.from({ length: 20 }, (_, index) => rank.call("record", [`${when}-${index}`])));
  const before = record("before");
  await real.head.kill();
  const during = record("during");
  await real.head.restart();
  expect(await Promise.all(running.map(({ outcome }) => outcome))).toEqual(["running", "running"]);
  await Promise.all([...before, ...during]);
  const tokens = ["before", "during"].flatMap((when) => Array.from({ length: 20 }, (_, index) => `${when}-${index}`));
  for (const rank of ranks) expect(await rank.call("tokens")).toEqual(["running", ...tokens]);
  expect(pids.every(runs)).toBe(true);
  await until("both nodes are back", PATIENCE_MS, async () => {
    return (await cluster.nodes()).filter(({ state }) => state === "ALIVE").length === 2;
  });
  for (const rank of ranks) {
    const row = await cluster.actorRow(await cluster.getActor(rank.id.replace("/", ".")));
    expect(row.state).toBe("ALIVE");
  }
}

/** As the head has it. */
export async function nodeState(cluster: Cluster, nodeId: string): Promise<string | undefined> {
  return (await cluster.nodes()).find((node) => node.nodeId === nodeId)?.state;
}
