import { describe, expect, test } from "vitest";
import { disagreements } from "../src/sim/calm.ts";
import type { SimDriver } from "../src/sim/sim-driver.ts";
import type { SimRaylet } from "../src/sim/sim-raylet.ts";
import { type SimCluster, simulate } from "../src/sim/simulate.ts";
import { actorOn, three } from "./sim-nodes.ts";

function stateOf(cluster: SimCluster, raylet: SimRaylet): string | undefined {
  return cluster.head.head?.status().nodes.find((node) => node.nodeId === raylet.nodeId)?.state;
}

function livesOf(cluster: SimCluster, actorId: string) {
  return cluster.history.lives.filter((life) => life.actorId === actorId);
}

describe("the head dies", () => {
  for (const outageMs of [1_000, 60_000]) {
    test(`F6: back after ${outageMs} ms, actors keep pid and epoch, calls went on, nothing acknowledged is lost`, async () => {
      const { cluster, driver } = await three();
      const actorIds: string[] = [];
      for (const raylet of cluster.raylets) actorIds.push(await actorOn(cluster, driver, raylet, -1));
      const group = await cluster.until(driver.createGroup([{ CPU: 1 }, { CPU: 1 }], { strategy: "STRICT_SPREAD" }));
      await cluster.until(driver.ready(group));
      const before = await cluster.until(driver.call(actorIds[0]!));
      const long = driver.call(actorIds[0]!, "run", { ms: 500, timeoutMs: 10_000 });
      await cluster.run(100);
      cluster.head.kill();
      expect(await cluster.until(long)).toMatchObject({ pid: before.pid, epoch: 1 });
      await cluster.run(outageMs / 2);
      expect(await cluster.until(driver.call(actorIds[0]!))).toMatchObject({ pid: before.pid, epoch: 1 });
      await cluster.run(outageMs / 2);
      await cluster.until(cluster.head.start());
      const up = () => cluster.raylets.every((raylet) => stateOf(cluster, raylet) === "ALIVE");
      await cluster.when("every raylet is back", up, 10_000);
      expect(await cluster.until(driver.call(actorIds[0]!))).toMatchObject({ pid: before.pid, epoch: 1 });
      expect((await cluster.until(driver.ready(group, 1_000))).state).toBe("CREATED");
      // Longer than the head waits for drivers that do not come back.
      await cluster.run(40_000);
      for (const actorId of actorIds) {
        expect(await cluster.until(driver.actor(actorId))).toMatchObject({ state: "ALIVE", epoch: 1, restarts: 0 });
        expect(livesOf(cluster, actorId)).toMatchObject([{ epoch: 1, to: undefined }]);
      }
    });
  }

  test("mechanism 5: with every raylet up, nobody fences in a minute without a head", async () => {
    const { cluster, driver } = await three();
    for (const raylet of cluster.raylets) await actorOn(cluster, driver, raylet, -1);
    cluster.head.kill();
    await cluster.run(60_000);
    for (const raylet of cluster.raylets) {
      expect(raylet.verdicts.map((verdict) => verdict.fence).filter(Boolean)).toEqual([]);
      expect(raylet.verdicts.at(-1)).toMatchObject({ state: "head-down" });
    }
    expect(cluster.history.lives.every((life) => life.to === undefined)).toBe(true);
  });

  test("what starts while raylets come back to a slow head is neither lost nor left behind", async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const { cluster, driver } = await three(seed);
      cluster.head.kill();
      await cluster.run(2_000);
      cluster.head.syncMs = 40 * seed;
      await cluster.until(cluster.head.start());
      const asked: Promise<string>[] = [];
      for (let at = 0; at < 6; at++) asked.push(driver.createActor({ CPU: 1 }, { maxRestarts: -1 }));
      for (let at = 0; at < 3; at++) asked.push(driver.createGroup([{ GPU: 1 }, { GPU: 1 }], { strategy: "SPREAD" }));
      await cluster.until(Promise.all(asked));
      await cluster.run(20_000);
      expect(disagreements(cluster.snapshot())).toEqual([]);
      expect(cluster.history.lives).toHaveLength(6);
    }
  });

  test("mechanism 3: an epoch lives once, also where the head died before it could write down that it was over", async () => {
    const { cluster, driver } = await three();
    const actorId = await cluster.until(driver.createActor({ CPU: 1 }, { maxRestarts: 1 }));
    await cluster.when("its constructor runs", () => livesOf(cluster, actorId).length === 1);
    cluster.head.syncMs = 600_000;
    const node = cluster.raylets.find((raylet) => raylet.raylet!.counts.actors === 1)!;
    await cluster.when("it is alive", () => node.raylet!.describe().actors.length === 1);
    await cluster.run(20);
    node.liveWorkers.find((worker) => worker.hosted)!.child.kill("SIGKILL");
    await cluster.run(50);
    cluster.head.syncMs = 2;
    await cluster.until(cluster.head.restart());
    expect(await cluster.until(driver.settled(actorId, 1))).toMatchObject({ state: "ALIVE", epoch: 2, restarts: 1 });
    expect(livesOf(cluster, actorId).map((life) => life.epoch)).toEqual([1, 2]);
  });

  test("mechanism 3: a start that failed while the head was dying is not made again in the same epoch", async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const { cluster, driver } = await three(seed);
      const actorId = await cluster.until(driver.createActor({ CPU: 1 }, { maxRestarts: 1 }));
      await cluster.when("its constructor runs", () => livesOf(cluster, actorId).length === 1);
      const workers = cluster.raylets.flatMap((raylet) => raylet.liveWorkers);
      workers.find((worker) => worker.hosted)!.child.kill("SIGKILL");
      await cluster.until(cluster.head.restart());
      expect(await cluster.until(driver.settled(actorId, 1))).toMatchObject({ state: "ALIVE", epoch: 2, restarts: 1 });
      expect(livesOf(cluster, actorId).map((life) => life.epoch)).toEqual([1, 2]);
    }
  });

  test("F50: 64 raylets are back within 10 s of a restart", async () => {
    const { cluster } = await three(1, 64);
    cluster.head.kill();
    await cluster.run(5_000);
    await cluster.until(cluster.head.start());
    const up = () => cluster.raylets.every((raylet) => stateOf(cluster, raylet) === "ALIVE");
    await cluster.when("all are back", up, 10_000);
  });
});

describe("a node is cut off", () => {
  test("F11: 5 s without the head make it suspect, then healthy; nothing is killed", async () => {
    const { cluster, driver } = await three();
    const [raylet] = cluster.raylets as [SimRaylet];
    const actorId = await actorOn(cluster, driver, raylet, -1);
    const { pid } = await cluster.until(driver.call(actorId));
    cluster.network.part("head", raylet.machine);
    await cluster.when("it is suspect", () => stateOf(cluster, raylet) === "SUSPECT", 5_000);
    await cluster.run(5_000 - 3_500);
    cluster.network.heal();
    await cluster.when("it is alive", () => stateOf(cluster, raylet) === "ALIVE", 5_000);
    await cluster.run(20_000);
    expect(stateOf(cluster, raylet)).toBe("ALIVE");
    expect(await cluster.until(driver.call(actorId))).toMatchObject({ pid, epoch: 1 });
    expect(raylet.verdicts.map((verdict) => verdict.fence).filter(Boolean)).toEqual([]);
    expect(livesOf(cluster, actorId)).toMatchObject([{ to: undefined }]);
  });

  const ways = {
    "F12: both ways": (cluster: SimCluster) => cluster.network.part("head", "n1"),
    "F13: what it sends to the head is lost": (cluster: SimCluster) => cluster.network.lose("n1", "head"),
    "F14: what the head sends to it is lost": (cluster: SimCluster) => cluster.network.lose("head", "n1"),
  };
  for (const [name, part] of Object.entries(ways)) {
    test(`${name}, for 60 s: it fences itself at 6 to 8 s, the head gives its work away after 10 s, the actor runs once`, async () => {
      const { cluster, driver } = await three();
      const [raylet] = cluster.raylets as [SimRaylet];
      const actorId = await actorOn(cluster, driver, raylet, 1);
      const finalId = await actorOn(cluster, driver, raylet, 0);
      // A node learns of its peers with its next beat.
      await cluster.run(1_500);
      const atMs = cluster.clock.now();
      part(cluster);
      await cluster.run(60_000);
      const fence = raylet.verdicts.find((verdict) => verdict.fence !== undefined)!;
      expect(fence).toMatchObject({ state: "cut-off", fence: "all" });
      // A renewal may have been under way when it was parted: up to one beat (1 s) earlier.
      expect(fence.atMs - atMs).toBeGreaterThan(5_000);
      expect(fence.atMs - atMs).toBeLessThan(8_000);
      const [old, young] = livesOf(cluster, actorId);
      expect(old!.toMs! - atMs).toBeLessThan(8_000);
      expect(young!.process).not.toMatch(/^n1\//);
      expect(young!.from).toBeGreaterThan(old!.to!);
      // Where it can still speak to the head it says itself that all is gone.
      if (!name.startsWith("F14")) expect(young!.fromMs - atMs).toBeGreaterThan(9_000);
      expect(livesOf(cluster, actorId)).toHaveLength(2);
      expect(stateOf(cluster, raylet)).toBe("DEAD");
      expect(await cluster.until(driver.call(actorId))).toMatchObject({ epoch: 2 });
      expect(await cluster.until(driver.actor(finalId))).toMatchObject({ state: "DEAD", death: { kind: "NODE_DIED" } });
      cluster.network.heal();
      await cluster.when("it is back", () => stateOf(cluster, raylet) === "ALIVE", 60_000);
      expect(raylet.raylet!.counts.actors).toBe(0);
      expect(await cluster.until(driver.actor(actorId))).toMatchObject({ state: "ALIVE", epoch: 2 });
    });
  }

  test("F1: a killed raylet is known dead within 3 s, and its restartable actor runs elsewhere", async () => {
    const { cluster, driver } = await three();
    const [raylet] = cluster.raylets as [SimRaylet];
    const actorId = await actorOn(cluster, driver, raylet, 1);
    raylet.kill();
    await cluster.when("it is dead", () => stateOf(cluster, raylet) === "DEAD", 3_000);
    expect(await cluster.until(driver.settled(actorId, 1))).toMatchObject({ state: "ALIVE", epoch: 2 });
  });

  test("F2: a raylet stopped for 60 s is dead after 10 s; when it goes on its epoch is old and it comes back empty", async () => {
    const { cluster, driver } = await three();
    const [raylet] = cluster.raylets as [SimRaylet];
    const actorId = await actorOn(cluster, driver, raylet, 1);
    raylet.pause();
    await cluster.run(8_000);
    expect(stateOf(cluster, raylet)).toBe("SUSPECT");
    await cluster.when("it is dead", () => stateOf(cluster, raylet) === "DEAD", 3_500);
    await cluster.run(60_000);
    raylet.resume();
    await cluster.when("it is back", () => stateOf(cluster, raylet) === "ALIVE", 10_000);
    await cluster.run(1_000);
    expect(raylet.raylet!.counts.actors).toBe(0);
    expect(livesOf(cluster, actorId).filter((life) => life.to === undefined)).toMatchObject([{ epoch: 2 }]);
  });

  test("F16: connections that break and 200 ms of jitter, for 3 min, make no false death", async () => {
    const raylets = Array.from({ length: 3 }, () => ({ resources: { CPU: 4, GPU: 2 } }));
    const cluster = await simulate({ seed: 16, raylets, faults: { maxDelayMs: 200, cutProbability: 0.01 } });
    const driver = await cluster.driver();
    const actorIds: string[] = [];
    for (const raylet of cluster.raylets) actorIds.push(await actorOn(cluster, driver, raylet, 0));
    for (let atMs = 0; atMs < 180_000; atMs += 1_000) {
      await cluster.run(1_000);
      expect(cluster.raylets.map((raylet) => stateOf(cluster, raylet))).not.toContain("DEAD");
    }
    for (const actorId of actorIds) expect(livesOf(cluster, actorId)).toMatchObject([{ epoch: 1, to: undefined }]);
  });
});

describe("reservations", () => {
  const ends = {
    "its raylet is killed": (raylet: SimRaylet) => raylet.kill(),
    "its machine loses its power": (raylet: SimRaylet) => raylet.powerOff(),
  };
  for (const [name, end] of Object.entries(ends)) {
    test(`F42: ${name} while a reservation is half prepared: all of it is rolled back within 2 s`, async () => {
      const { cluster, driver } = await three(1, 2);
      const [one, other] = cluster.raylets as [SimRaylet, SimRaylet];
      cluster.network.lose("head", other.machine);
      const pgId = await cluster.until(driver.createGroup([{ GPU: 2 }, { GPU: 2 }], { strategy: "STRICT_SPREAD" }));
      const held = () => one.raylet!.describe().bundles;
      await cluster.when("one half is prepared", () => held().length === 1, 1_000);
      const { epoch } = held()[0]!;
      end(other);
      // A next attempt may begin before the head suspects the machine.
      await cluster.when("it is rolled back", () => !held().some((bundle) => bundle.epoch === epoch), 2_100);
      await cluster.run(20_000);
      expect(held()).toEqual([]);
      const row = await cluster.until(driver.group(pgId));
      expect(row).toMatchObject({ state: "PENDING", bundles: [{ devices: [] }, { devices: [] }] });
      expect(row!.reasons.length).toBeGreaterThan(0);
      cluster.network.heal();
      await cluster.until(other.start());
      expect((await cluster.until(driver.ready(pgId))).state).toBe("CREATED");
    });
  }

  test("F43: of two reservations that race for the last devices one wins, one waits with a reason, none is in part", async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const { cluster, driver } = await three(seed, 2);
      const rival = await cluster.driver();
      const bundles = [{ GPU: 2 }, { GPU: 2 }];
      const asked = [driver.createGroup(bundles), rival.createGroup(bundles)];
      const ids = await cluster.until(Promise.all(asked));
      await cluster.run(10_000);
      const rows = await cluster.until(Promise.all(ids.map((pgId) => driver.group(pgId))));
      const [won, waits] = rows.sort((left, right) => (left!.state < right!.state ? -1 : 1));
      expect(won).toMatchObject({ state: "CREATED" });
      expect(waits).toMatchObject({ state: "PENDING", bundles: [{ devices: [] }, { devices: [] }] });
      expect(waits!.reasons[0]!.text).toMatch(/GPU/);
      await cluster.until(driver.removeGroup(won!.pgId));
      expect((await cluster.until(driver.ready(waits!.pgId))).state).toBe("CREATED");
    }
  });
});

describe("a driver ends", () => {
  const ends = {
    "says goodbye": (cluster: SimCluster, driver: SimDriver) => cluster.until(driver.close()),
    // A remote one that only fell silent has 30 s to come back (mechanism 2).
    dies: async (cluster: SimCluster, driver: SimDriver) => {
      driver.kill();
      await cluster.run(31_000);
    },
  };
  for (const [name, end] of Object.entries(ends)) {
    test(`F44: one that ${name} takes its groups and actors with it; what is detached stays`, async () => {
      const { cluster, driver } = await three();
      const other = await cluster.driver();
      const pgId = await cluster.until(driver.createGroup([{ CPU: 2 }, { CPU: 2 }]));
      await cluster.until(driver.ready(pgId));
      const inside = await cluster.until(driver.createActor({ CPU: 1 }, { pgId, maxRestarts: -1 }));
      const outside = await cluster.until(driver.createActor({ GPU: 1 }, { maxRestarts: -1 }));
      const detached = await cluster.until(driver.createActor({ GPU: 1 }, { detached: true, name: "stays" }));
      for (const actorId of [inside, outside, detached]) {
        expect((await cluster.until(driver.settled(actorId))).state).toBe("ALIVE");
      }
      cluster.history.disown(driver.jobId);
      await end(cluster, driver);
      await cluster.run(10_000);
      const { groups, actors } = cluster.head.head!.status();
      expect(groups).toEqual([]);
      expect(actors.filter((actor) => actor.state !== "DEAD").map((actor) => actor.actorId)).toEqual([detached]);
      expect(cluster.history.lives.filter((life) => life.to === undefined)).toMatchObject([{ actorId: detached }]);
      expect(await cluster.until(other.call(detached))).toMatchObject({ epoch: 1 });
    });
  }
});

describe("a connection breaks under a call", () => {
  test("F18: within the resume time the caller gets the one result of the one run", async () => {
    const { cluster, driver } = await three();
    const actorId = await actorOn(cluster, driver, cluster.raylets[0]!, 0);
    await cluster.until(driver.call(actorId));
    const call = driver.call(actorId, "run", { ms: 2_000 });
    await cluster.run(500);
    cluster.network.cutBetween(driver.machine, "n1");
    const { token } = await cluster.until(call);
    expect(cluster.history.runs.get(token)).toBe(1);
  });

  test("F18: after it the caller is told that the outcome is unknown, and nothing ran twice", async () => {
    const { cluster, driver } = await three();
    const actorId = await actorOn(cluster, driver, cluster.raylets[0]!, 0);
    await cluster.until(driver.call(actorId));
    const call = driver.call(actorId, "run", { ms: 2_000, timeoutMs: 300_000 });
    await cluster.run(500);
    cluster.network.part(driver.machine, "n1");
    await expect(cluster.until(call, 200_000)).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
    const { token } = cluster.history.calls.at(-1)!;
    expect(cluster.history.runs.get(token)).toBe(1);
    cluster.network.heal();
    await cluster.run(60_000);
    expect(cluster.history.runs.get(token)).toBe(1);
    expect(await cluster.until(driver.call(actorId))).toMatchObject({ epoch: 1 });
  });

  test("F15: parted from the node alone, calls end by their deadline and the node stays healthy", async () => {
    const { cluster, driver } = await three();
    const [raylet] = cluster.raylets as [SimRaylet];
    const actorId = await actorOn(cluster, driver, raylet, 0);
    cluster.network.part(driver.machine, raylet.machine);
    await expect(cluster.until(driver.call(actorId, "run", { timeoutMs: 10_000 }))).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
    await cluster.run(30_000);
    expect(stateOf(cluster, raylet)).toBe("ALIVE");
    expect(livesOf(cluster, actorId)).toMatchObject([{ to: undefined }]);
  });
});
