import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { delay, systemClock } from "@whipray/core";
import { RayScheduler, WorkerFailedError } from "@whipray/scheduler";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Cluster } from "whipray";
import { Deadline } from "../../../scripts/vitest/deadline.ts";
import { describeLeaks } from "../src/leak-check.ts";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { SILENT_NODE_MS } from "./kills.ts";
import { anyRuns, processesOf, runs, until } from "./outside.ts";
import { DEATH_MS, PATIENCE_MS, Rank, rayletAt, type Stage, task } from "./stage.ts";

// What a guard, or a whole machine, may meet: it is stopped, its engine multiplies, or does not die.
const TEST_MS = 90_000;
/** F4: echoes are missed after 5 s; and what the end of the tree adds. */
const STOPPED_GUARD_MS = 5_000 + 4_000;
/** F25: how many processes breed at a time, and when they stop by themselves, whatever becomes of the test. */
const BOMB_CHAINS = 40;
const BOMB_BURNS_S = 80;
const HOLD = fileURLToPath(new URL("./fixtures/hold.py", import.meta.url));
let real: RealCluster;
let cluster: Cluster;
let stage: Stage;

beforeEach(async () => {
  const near = { resources: { CPU: 4, near: 4, GPU: 1 } };
  real = await startCluster({ raylets: [near, { resources: { CPU: 4, far: 4 }, foreign: true }] });
  cluster = await real.connect({ namespace: "test" });
  stage = { real, cluster, scheduler: new RayScheduler({ cluster, destroyTimeoutMs: 2_000 }) };
}, TEST_MS);

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.error(real.logs());
  await stage.scheduler[Symbol.asyncDispose]();
  expect(describeLeaks(await real.stop())).toBe("");
}, TEST_MS);

test(
  "F4: SIGSTOP of a guard: its raylet misses the echo and ends the tree from outside, the caller hears of it, the node works on",
  async () => {
    const lost = await Rank.start(stage, "lost", "far");
    const kept = await Rank.start(stage, "kept", "far");
    const planted = await lost.plant();
    const { outcome } = await lost.running(600);
    process.kill(lost.guard, "SIGSTOP");
    await until("the tree is gone", STOPPED_GUARD_MS, () => !anyRuns([lost.engine, lost.guard, planted]));
    expect(await outcome).toBeInstanceOf(WorkerFailedError);
    expect(runs(lost.worker)).toBe(true);
    expect(await kept.call("echo", ["works"])).toBe("works");
  },
  TEST_MS,
);

test(
  "F20: a machine is suspended for 12 s: when it goes on, its engines are ended, its old epoch is refused, and it comes back empty",
  async () => {
    const raylet = rayletAt(real, "far");
    const lost = await Rank.start(stage, "lost", "far");
    const planted = await lost.plant();
    const { outcome } = await lost.running(600);
    const epoch = (await farRow())!.epoch;
    const machine = onMachineOf(raylet.pid);
    for (const pid of machine) signal(pid, "SIGSTOP");
    const asleep = new Deadline(SILENT_NODE_MS);
    await until("the node is dead", asleep, async () => (await farRow())?.state === "DEAD");
    expect(await outcome).toBeInstanceOf(WorkerFailedError);
    await until("12 s are over", PATIENCE_MS, () => asleep.passedMs > 12_000);
    for (const pid of machine) signal(pid, "SIGCONT");
    await until("its engines are gone", DEATH_MS, () => !anyRuns([lost.engine, lost.guard, lost.worker, planted]));
    await until("it is back", PATIENCE_MS, async () => (await farRow())?.state === "ALIVE");
    expect((await farRow())!.epoch).toBeGreaterThan(epoch);
    await stage.scheduler.deleteWorkers("lost");
    await until("it is empty", DEATH_MS, async () => (await cluster.availableResources())["far"] === 4);
    expect(await (await Rank.start(stage, "again", "far")).call("echo", ["again"])).toBe("again");
  },
  TEST_MS,
);

test(
  "F25: an engine is a fork bomb: the node stays alive and answers, and the end of the worker ends all of it",
  async () => {
    const bomb = await Rank.start(stage, "bomb", "far", "Bomb");
    const kept = await Rank.start(stage, "kept", "far");
    // Its processes live too shortly to be counted from outside: they leave a byte each, and hold a lock.
    const mark = join(rayletAt(real, "far").cwd, "bomb");
    await bomb.call("explode", [BOMB_CHAINS, BOMB_BURNS_S, mark]);
    const burning = new Deadline(BOMB_BURNS_S * 1_000);
    await until("it has multiplied", PATIENCE_MS, () => statSync(mark).size > 5 * BOMB_CHAINS);
    for (let look = 0; look < 5; look++) {
      expect(await kept.call("echo", [look])).toBe(look);
      expect((await farRow())?.state).not.toBe("DEAD");
      await delay(systemClock, 300);
    }
    await stage.scheduler.deleteWorkers("bomb");
    await until("none of it is left", DEATH_MS, () => !isLocked(mark));
    expect(burning.passedMs).toBeLessThan(burning.ms); // or it has burnt out by itself, and nothing is proved
    expect(await kept.call("echo", ["works"])).toBe("works");
  },
  TEST_MS,
);

test(
  "F23: an engine that does not die keeps its device: quarantined, named, not granted; offered again when it is gone",
  async () => {
    const { scheduler } = stage;
    const spec = { ...task("near"), gpu: 1 };
    const [id] = (await scheduler.createWorkers({ role: "stuck", replicas: 1, tasks: [spec] })) as [string];
    await scheduler.createEngine(id, "probe_engines.Probe");
    const held = await hold((await scheduler.callEngine(id, "pid")) as number);
    try {
      await scheduler.deleteWorkers("stuck");
      await until("its device is quarantined", 3 * DEATH_MS, async () => {
        return (await nearDevice())?.kind === "quarantined";
      });
      expect((await nearDevice())?.reason).toMatch(/cannot be (killed|ended)/);
      expect((await cluster.availableResources())["GPU"]).toBeUndefined();
      const group = await cluster.placementGroup([{ GPU: 1 }], { name: "wants" });
      await expect(group.ready({ timeoutMs: 1_000 })).rejects.toThrow(/GPU/);
      held.kill("SIGKILL");
      await group.ready({ timeoutMs: PATIENCE_MS });
      expect(await nearDevice()).toBeUndefined();
    } finally {
      held.kill("SIGKILL");
    }
  },
  TEST_MS,
);

/** Whether any process still has the locked file open. */
function isLocked(path: string): boolean {
  const inode = `:${statSync(path).ino} `;
  return readFileSync("/proc/locks", "utf8").includes(inode);
}

/** Some end meanwhile; those that wake first end others. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Processes in the pid namespace of `member`, which is a machine of its own here, in the order of their start. */
function onMachineOf(member: number): number[] {
  const namespace = pidNamespace(member);
  return processesOf(real.clusterId).filter((pid) => pidNamespace(pid) === namespace);
}

function pidNamespace(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined; // it ended meanwhile
  }
}

async function farRow() {
  return (await cluster.nodes()).find(({ nodeId }) => nodeId === rayletAt(real, "far").nodeId);
}

/** Why the near node does not offer its device. */
async function nearDevice() {
  const row = (await cluster.nodes()).find(({ nodeId }) => nodeId === rayletAt(real, "near").nodeId);
  return row?.view.withheld?.[row.devices[0]!.uuid];
}

async function hold(pid: number): Promise<ChildProcess> {
  const holder = spawn("python3", [HOLD, String(pid)], { stdio: ["pipe", "pipe", "inherit"] });
  await once(holder.stdout!, "data");
  return holder;
}
