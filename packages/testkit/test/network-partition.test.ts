import { delay, systemClock } from "@whipray/core";
import { RayScheduler, WorkerFailedError } from "@whipray/scheduler";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ActorDiedError, type ActorHandle, type Cluster } from "whipray";
import { Deadline } from "../../../scripts/vitest/deadline.ts";
import { describeLeaks } from "../src/leak-check.ts";
import type { NodeNetwork } from "../src/node-network.io.ts";
import type { RealCluster } from "../src/real-cluster.io.ts";
import type { Resident } from "./fixtures/resident.ts";
import { anyRuns, outsidePid, runs, until } from "./outside.ts";
import { needNetwork, networkOf, networkRefused, startNetworkStage } from "./own-network.ts";
import { DEATH_MS, PATIENCE_MS, Rank, rayletAt, type Stage } from "./stage.ts";

// The far node is cut off for real: its interface goes down, or frames of one direction are lost on the way.
const RESIDENT = new URL("./fixtures/resident.ts", import.meta.url);
const TEST_MS = 60_000;
/** A few lost beats end nothing. The fence is at 6.75 s, from a beat that was sent some time before the cut. */
const SUSPECT_MS = 3_000;
/** A node that knows itself cut off has ended its own by then; and what the look takes. */
const FENCED_MS = 8_000 + 500;
/** P2: when the head gives its work away; and what the look takes. */
const DEAD_MS = 10_000 + 500;
/** It must not do so sooner. */
const NOT_DEAD_MS = 8_000;
let real: RealCluster | undefined;
let network: NodeNetwork;
let cluster: Cluster;
let stage: Stage;

beforeAll(async () => {
  if (networkRefused !== undefined) return;
  real = await startNetworkStage();
  network = networkOf(real);
}, TEST_MS);

beforeEach(async (context) => {
  needNetwork(context);
  cluster = await real!.connect({ namespace: "test" });
  stage = { real: real!, cluster, scheduler: new RayScheduler({ cluster, destroyTimeoutMs: 2_000 }) };
}, TEST_MS);

afterEach(async (context) => {
  if (real === undefined) return;
  network.mend();
  if (context.task.result?.state === "fail") console.error(real.logs());
  await stage.scheduler[Symbol.asyncDispose]();
  await cluster.close();
}, TEST_MS);

afterAll(async () => {
  expect(describeLeaks((await real?.stop()) ?? [])).toBe("");
}, TEST_MS);

test(
  "F11: the cable to the head is out for 5 s: the node is suspect, nothing is killed, calls go on, it is healthy again",
  async () => {
    const rank = await Rank.start(stage, "kept", "far");
    const { outcome } = await rank.running(7, "went on");
    network.head.unplug();
    const cutAt = systemClock.now();
    await until("the node is suspect", 5_000, async () => (await farState()) === "SUSPECT");
    await delay(systemClock, Math.max(0, cutAt + 5_000 - systemClock.now()));
    network.head.plug();
    await until("it is healthy again", PATIENCE_MS, async () => (await farState()) === "ALIVE");
    expect(await outcome).toBe("went on");
    expect(await rank.call("tokens")).toEqual(["went on"]);
    expect([rank.engine, rank.guard, rank.worker].every(runs)).toBe(true);
  },
  TEST_MS,
);

for (const { id, what, cut, mend, heardMs = 0 } of [
  {
    id: "F12",
    what: "the cable to the head is out",
    cut: () => network.head.unplug(),
    mend: () => network.head.plug(),
  },
  {
    id: "F13",
    what: "what the node sends to the head is lost",
    cut: () => network.head.lose("fromNode"),
    mend: () => network.head.restore("fromNode"),
  },
  {
    id: "F14",
    what: "what the head sends to the node is lost",
    cut: () => network.head.lose("toNode"),
    mend: () => network.head.restore("toNode"),
    // Beats arrive, and count until they say that no answer has come for that long.
    heardMs: SUSPECT_MS,
  },
]) {
  test(
    `${id}: ${what}: the node hears it from its peer and ends its own in 8 s, is dead at 8 to 10 s, and comes back empty`,
    async () => {
      const lost = await Rank.start(stage, "lost", "far");
      const planted = await lost.plant();
      const { outcome } = await lost.running(600);
      const { actor, pid } = await residing({ maxRestarts: 1, maxTaskRetries: 1 });
      const epoch = await farEpoch();
      cut();
      const [gone, dead] = [new Deadline(FENCED_MS), new Deadline(DEAD_MS + heardMs)];
      const own = [lost.engine, lost.worker, planted, pid];
      await until("all of its own is gone", gone, () => !anyRuns(own));
      expect(gone.passedMs).toBeGreaterThan(SUSPECT_MS);
      const state = await farState();
      if (gone.passedMs < NOT_DEAD_MS) expect(state).not.toBe("DEAD");
      await until("it is dead", dead, async () => (await farState()) === "DEAD");
      expect(dead.passedMs).toBeGreaterThan(NOT_DEAD_MS);
      expect(await outcome).toBeInstanceOf(WorkerFailedError);
      expect(await actor.add(1)).toBe(1);
      expect(await actor.pid()).not.toBe(pid);
      mend();
      await rejoined(epoch, () => stage.scheduler.deleteWorkers("lost"));
      expect(await (await Rank.start(stage, "again", "far")).call("echo", ["again"])).toBe("again");
      expect(await actor.add(1)).toBe(2);
    },
    TEST_MS,
  );
}

test(
  "F12: both cables are out: a node that can ask nobody ends what asked for fence, keeps the rest, and drops it when it is back",
  async () => {
    const fenced = await residing({ maxRestarts: 1, maxTaskRetries: 1, fence: true });
    const kept = await residing({});
    const epoch = await farEpoch();
    network.head.unplug();
    network.peers.unplug();
    const [gone, dead] = [new Deadline(FENCED_MS), new Deadline(DEAD_MS)];
    await until("what asked for it is gone", gone, () => !runs(fenced.pid));
    const state = await farState();
    if (gone.passedMs < NOT_DEAD_MS) expect(state).not.toBe("DEAD");
    await until("it is dead", dead, async () => (await farState()) === "DEAD");
    expect(runs(kept.pid)).toBe(true);
    expect(await fenced.actor.add(1)).toBe(1);
    await expect(kept.actor.add(1)).rejects.toThrow(ActorDiedError);
    network.head.plug();
    network.peers.plug();
    await rejoined(epoch);
    await until("what it had kept is gone", DEATH_MS, () => !runs(kept.pid));
    expect(await fenced.actor.add(1)).toBe(2);
  },
  TEST_MS,
);

test(
  "F15: the cable to the driver is out: a call ends by its deadline, the node stays, and the next call works",
  async () => {
    const rank = await Rank.start(stage, "far", "far");
    network.peers.unplug();
    const failed = await rank.call("echo", [1], { timeoutMs: 1_500 }).catch((error: unknown) => error);
    expect(failed).toMatchObject({ name: "EngineCallError", details: { code: "DEADLINE_EXCEEDED" } });
    await delay(systemClock, 4_000);
    expect(await farState()).toBe("ALIVE");
    network.peers.plug();
    expect(await rank.call("echo", [2])).toBe(2);
    expect(runs(rank.engine)).toBe(true);
  },
  TEST_MS,
);

/** An actor on the far node, where it goes first; restarted it may go anywhere. */
async function residing(options: { maxRestarts?: number; maxTaskRetries?: number; fence?: boolean }) {
  const { nodeId, pid: raylet } = rayletAt(real!, "far");
  const make = cluster.actor<Resident>(RESIDENT, "Resident");
  const actor: ActorHandle<Resident> = await make
    .options({ numCpus: 1, nodeAffinity: { nodeId, soft: true }, ...options })
    .create();
  return { actor, pid: outsidePid(await actor.pid(), raylet) };
}

async function farRow() {
  return (await cluster.nodes()).find(({ nodeId }) => nodeId === rayletAt(real!, "far").nodeId);
}

async function farState(): Promise<string | undefined> {
  return (await farRow())?.state;
}

async function farEpoch(): Promise<number> {
  return (await farRow())!.epoch;
}

/** The far node is back under a higher epoch, and nothing of before runs on it. @param meanwhile gives up what would be placed on it anew */
async function rejoined(epoch: number, meanwhile?: () => Promise<unknown>): Promise<void> {
  await until("it is back", PATIENCE_MS, async () => (await farState()) === "ALIVE");
  expect(await farEpoch()).toBeGreaterThan(epoch);
  await meanwhile?.();
  await until("it is empty", DEATH_MS, async () => (await cluster.availableResources())["far"] === 4);
}
