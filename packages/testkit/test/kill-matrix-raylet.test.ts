import { RayScheduler, WorkerFailedError } from "@whipray/scheduler";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Cluster } from "whipray";
import { Deadline } from "../../../scripts/vitest/deadline.ts";
import { describeLeaks } from "../src/leak-check.ts";
import type { RealCluster } from "../src/real-cluster.io.ts";
import { CRASHED_MS, nodeState, rayletKilled, SILENT_NODE_MS } from "./kills.ts";
import { anyRuns, until } from "./outside.ts";
import { DEATH_MS, PATIENCE_MS, Rank, rayletAt, type Stage, startStage } from "./stage.ts";

// The raylet is killed, or stopped: what was its own must be gone although nobody is left who would tell it to go.
const TEST_MS = 90_000;
/** F2: a guard whose raylet is silent has ended its tree by then; and what the look takes. */
const SILENT_MS = 8_000 + 500;
/** P2: no node is dead earlier. */
const NOT_DEAD_MS = 8_000;
let real: RealCluster;
let cluster: Cluster;
let stage: Stage;

beforeEach(async () => {
  real = await startStage();
  cluster = await real.connect({ namespace: "test" });
  stage = { real, cluster, scheduler: new RayScheduler({ cluster, destroyTimeoutMs: 2_000 }) };
}, TEST_MS);

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.error(real.logs());
  await stage.scheduler[Symbol.asyncDispose]();
  expect(describeLeaks(await real.stop())).toBe("");
}, TEST_MS);

for (const { place, when } of [
  { place: "near", when: "busy" },
  { place: "near", when: "idle" },
  { place: "far", when: "busy" },
] as const) {
  test(
    `F1: SIGKILL of the ${place} raylet (${when}): all of it is gone in 10 s, the caller hears of the node, the other node works on`,
    () => rayletKilled(stage, place, when, CRASHED_MS),
    TEST_MS,
  );
}

test(
  "F5: SIGKILL of a raylet and of a guard at the same time: engine, worker and planted grandchild are gone in 10 s",
  async () => {
    const lost = await Rank.start(stage, "lost", "near");
    const planted = await lost.plant();
    process.kill(lost.guard, "SIGSTOP"); // so that it has no last breath
    const killed = rayletAt(real, "near").kill();
    process.kill(lost.guard, "SIGKILL");
    await killed;
    await until("all of it is gone", DEATH_MS, () => !anyRuns([lost.engine, lost.guard, lost.worker, planted]));
    await stage.scheduler.deleteWorkers("lost");
  },
  TEST_MS,
);

test(
  "SIGKILL of a raylet while a constructor runs and while a stream runs: both end with the node's name, nothing is left",
  async () => {
    const raylet = rayletAt(real, "near");
    const built = await Rank.creating(stage, "built", "near");
    const streaming = await Rank.start(stage, "streaming", "near");
    const stream = await streaming.streaming();
    await raylet.kill();
    for (const failed of await Promise.all([built.outcome, stream.outcome])) {
      expect(failed).toBeInstanceOf(WorkerFailedError);
      expect(String(failed)).toContain(raylet.nodeId);
    }
    const pids = [built.rank, streaming].flatMap(({ engine, guard, worker }) => [engine, guard, worker]);
    await until("all of it is gone", DEATH_MS, () => !anyRuns(pids));
    await stage.scheduler.deleteWorkers();
  },
  TEST_MS,
);

test(
  "F2: SIGSTOP of a raylet for 12 s: its engines are gone in 8 s, the node is dead at 10 s; with SIGCONT it rejoins empty",
  async () => {
    const lost = await Rank.start(stage, "lost", "near");
    const planted = await lost.plant();
    const { outcome } = await lost.running(600);
    const raylet = rayletAt(real, "near");
    const [gone, dead] = [new Deadline(SILENT_MS), new Deadline(SILENT_NODE_MS)];
    await raylet.kill("SIGSTOP");
    await until("engine and planted grandchild are gone", gone, () => !anyRuns([lost.engine, planted]));
    const state = await nodeState(cluster, raylet.nodeId);
    if (gone.passedMs < NOT_DEAD_MS) expect(state).not.toBe("DEAD");
    await until("the node is dead", dead, async () => (await nodeState(cluster, raylet.nodeId)) === "DEAD");
    expect(await outcome).toBeInstanceOf(WorkerFailedError);
    await until("12 s are over", PATIENCE_MS, () => gone.passedMs > 12_000);
    await raylet.kill("SIGCONT");
    await until("it has rejoined", PATIENCE_MS, async () => (await nodeState(cluster, raylet.nodeId)) === "ALIVE");
    await until("its old worker is gone", DEATH_MS, () => !anyRuns([lost.worker, lost.guard]));
    await stage.scheduler.deleteWorkers("lost");
    await until("it is empty", DEATH_MS, async () => (await cluster.availableResources())["near"] === 4);
    expect(await (await Rank.start(stage, "lost", "near")).call("echo", ["again"])).toBe("again");
  },
  TEST_MS,
);
