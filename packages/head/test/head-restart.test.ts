import { WhiprayError } from "@whipray/core";
import { kvGet, kvPut } from "@whipray/rpc";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestCluster, type TestDriver } from "./cluster.ts";

let cluster: TestCluster;
let driver: TestDriver;
beforeEach(async () => {
  cluster = await new TestCluster().start();
  driver = await cluster.driver("d").open();
});
afterEach(() => cluster.head.stop());

describe("a head that was killed finds everything again (F6)", () => {
  test("ray 8.39, 8.62, 8.63: actors keep their pid, groups their bundles; both take new work", async () => {
    const a = await cluster.node("a", { CPU: 4 }, { gpus: 1 });
    const pgId = await driver.group([{ CPU: 1, GPU: 1 }]);
    const before = await driver.ready(pgId);
    const inside = await driver.alive(await driver.actor({ CPU: 1 }, { pgId, name: "inside" }));
    const beside = await driver.alive(await driver.actor({ CPU: 1 }));
    cluster.killHead();
    await cluster.run(60_000);
    await cluster.restartHead({}, { drivers: [driver] });
    expect(a.registered).toMatchObject({ epoch: 1, dropActors: [], dropBundles: [] });
    expect(await driver.table(pgId)).toEqual(before);
    for (const was of [inside, beside]) expect(await driver.row(was.actorId)).toEqual(was);
    expect((await driver.named("inside")).pid).toBe(inside.pid);
    await driver.kill(inside.actorId);
    expect((await driver.alive(await driver.actor({ GPU: 1 }, { pgId }))).nodeId).toBe("node_a");
    await driver.alive(await driver.actor({ CPU: 1 }));
  });

  test("raylets keep their work for headOutageMs, and lose it after", async () => {
    await cluster.node("a", { CPU: 4 });
    const actorId = await driver.actor({ CPU: 1 });
    await driver.alive(actorId);
    cluster.raylets[0]!.beating = false;
    cluster.killHead();
    await cluster.restartHead({ headOutageMs: 60_000 }, { drivers: [driver], raylets: [] });
    await cluster.run(55_000);
    expect(await driver.state(actorId)).toBe("ALIVE");
    expect(cluster.head.status().nodes[0]).toMatchObject({ state: "SUSPECT" });
    await cluster.run(6_000);
    expect((await driver.row(actorId)).death).toMatchObject({ kind: "NODE_DIED" });
    const back = await cluster.raylets[0]!.register();
    expect(back).toMatchObject({ epoch: 2, dropActors: [actorId] });
  });

  test("ray 8.65, 8.67: an actor that died during the outage is DEAD, or restarts with a new pid", async () => {
    const a = await cluster.node("a", { CPU: 4 });
    const once = await driver.alive(await driver.actor({ CPU: 1 }));
    const again = await driver.alive(await driver.actor({ CPU: 1 }, { detached: true, maxRestarts: 1 }));
    cluster.killHead();
    a.actors.clear();
    await cluster.restartHead({}, { drivers: [driver] });
    expect((await driver.dead(once.actorId)).death?.kind).toBe("WORKER_DIED");
    expect((await driver.alive(again.actorId, 1)).pid).not.toBe(again.pid);
  });

  test("ray 8.35 (second half): a node dies, the head restarts, a node joins: group and actor are back within 10 s", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const pgId = await driver.group([{ CPU: 2 }]);
    const actorId = await driver.actor({ CPU: 1 }, { pgId, maxRestarts: -1 });
    await driver.alive(actorId);
    a.kill();
    await cluster.until("rescheduling", async () => (await driver.table(pgId)).state === "RESCHEDULING");
    cluster.killHead();
    await cluster.restartHead({}, { drivers: [driver], raylets: [] });
    expect((await driver.table(pgId)).state).toBe("RESCHEDULING");
    await cluster.node("b", { CPU: 2 });
    await cluster.until("answers", async () => (await driver.state(actorId)) === "ALIVE", 10_000);
  });

  test("ray 8.22, 8.37: groups and actors in older groups can be made after a restart", async () => {
    await cluster.node("a", { CPU: 4 });
    const old = await driver.group([{ CPU: 2 }]);
    await driver.ready(old);
    cluster.killHead();
    await cluster.restartHead({}, { drivers: [driver] });
    await driver.alive(await driver.actor({ CPU: 1 }, { pgId: old }));
    await driver.ready(await driver.group([{ CPU: 1 }]));
  });

  test("ray 2.5: a group that was only PREPARED is committed when its nodes are back", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const b = await cluster.node("b", { CPU: 2 });
    const pgId = await driver.group([{ CPU: 2 }, { CPU: 2 }], { strategy: "STRICT_SPREAD" });
    const groupStates: string[] = [];
    // Stop in the moment in which PREPARED is on disk and no raylet has heard of a commit.
    await cluster.until("prepared", () => a.bundles.size + b.bundles.size === 2);
    for (const raylet of [a, b]) for (const bundle of raylet.bundles.values()) bundle.committed = false;
    cluster.killHead();
    await cluster.restartHead({}, { drivers: [driver] });
    groupStates.push((await driver.ready(pgId)).state);
    expect(groupStates).toEqual(["CREATED"]);
    expect([...a.bundles.values(), ...b.bundles.values()].every((bundle) => bundle.committed)).toBe(true);
  });

  test("what a raylet holds and the journal does not know is dropped", async () => {
    const a = await cluster.node("a", { CPU: 4 });
    const pgId = await driver.group([{ CPU: 1 }]);
    const actorId = await driver.actor({ CPU: 1 });
    await driver.ready(pgId);
    await driver.alive(actorId);
    cluster.killHead();
    cluster.disk.clear();
    await cluster.restartHead();
    expect(a.registered).toMatchObject({ dropActors: [actorId], dropBundles: [{ pgId, index: 0 }] });
    expect(a.idle).toBe(true);
  });
});

describe("owners after a restart", () => {
  test("a driver that comes back within its grace keeps everything; one that does not loses it", async () => {
    const a = await cluster.node("a", { CPU: 4 });
    const other = await cluster.driver("o").open();
    const kept = await driver.actor({ CPU: 1 });
    const lost = await other.actor({ CPU: 1 });
    const lostGroup = await other.group([{ CPU: 1 }]);
    await driver.alive(kept);
    await driver.alive(lost);
    await driver.ready(lostGroup);
    cluster.killHead();
    await cluster.restartHead({ driverGraceMs: 30_000 }, { drivers: [driver] });
    await cluster.run(29_000);
    expect(await driver.state(lost)).toBe("ALIVE");
    await cluster.run(2_000);
    expect((await driver.row(lost)).death?.kind).toBe("OWNER_DIED");
    expect((await driver.table(lostGroup)).state).toBe("REMOVED");
    expect(await driver.state(kept)).toBe("ALIVE");
    expect([...a.actors.keys()]).toEqual([kept]);
  });

  test("ray 2.5: groups and actors of a job that ended in the last moment go when the head is back", async () => {
    await cluster.node("a", { CPU: 4 });
    const other = await cluster.driver("o").open();
    const actorId = await other.actor({ CPU: 1 });
    const pgId = await other.group([{ CPU: 1 }]);
    await other.alive(actorId);
    await other.ready(pgId);
    cluster.killHead();
    cluster.disk.delete("jobs job_o");
    await cluster.restartHead({}, { drivers: [driver] });
    expect((await driver.row(actorId)).death?.kind).toBe("OWNER_DIED");
    expect((await driver.table(pgId)).state).toBe("REMOVED");
    await cluster.run(200);
    expect(cluster.raylets[0]!.idle).toBe(true);
  });

  test("a value with a time to live ends at its time, also over a restart", async () => {
    const key = { namespace: "n", key: "k" };
    await driver.head.invoke(kvPut, { ...key, value: Uint8Array.of(1), overwrite: true, ttlMs: 5_000 });
    await cluster.run(2_000);
    cluster.killHead();
    await cluster.restartHead({}, { drivers: [driver] });
    expect(await driver.head.invoke(kvGet, key)).toEqual({ value: Uint8Array.of(1) });
    await cluster.run(3_000);
    expect(await driver.head.invoke(kvGet, key)).toEqual({});
    expect(cluster.disk.has("kv n\nk")).toBe(false);
  });

  test("a group's deadline goes on counting over a restart", async () => {
    const pgId = await driver.group([{ CPU: 1 }], { timeoutMs: 10_000 });
    await cluster.run(6_000);
    cluster.killHead();
    await cluster.restartHead({}, { drivers: [driver] });
    await cluster.run(3_000);
    expect((await driver.table(pgId)).state).toBe("PENDING");
    await cluster.run(1_500);
    expect((await driver.table(pgId)).state).toBe("REMOVED");
  });
});

describe("starts and connections", () => {
  test("a constructor that runs through a restart of the head runs once: the new head finds it by the same epoch", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const gate = Promise.withResolvers<void>();
    a.startAnswers.push(gate.promise);
    const actorId = await driver.actor({ CPU: 1 });
    await cluster.settle();
    cluster.killHead();
    gate.resolve();
    await cluster.restartHead({}, { drivers: [driver] });
    expect(await driver.alive(actorId)).toMatchObject({ epoch: 1, pid: 1_000 });
    expect(a.actors.size).toBe(1);
  });

  test("a broken connection whose session goes on is suspect only until the session answers", async () => {
    await cluster.node("a", { CPU: 1 });
    const state = () => cluster.head.status().nodes[0]?.state;
    cluster.net.cut("head/head", "node_a/raylet");
    cluster.head.linkLost("node_a");
    await cluster.run(2_000);
    expect(state()).toBe("SUSPECT");
    cluster.net.heal();
    await cluster.settle();
    expect(state()).toBe("ALIVE");
  });

  test("a driver whose session was replaced has its grace to open the job again", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    await driver.alive(await driver.actor({ CPU: 1 }));
    const replaced = new WhiprayError({ code: "SESSION_REPLACED", message: "a new session" });
    driver.head.close(replaced);
    await cluster.run(5_000);
    await driver.open();
    await cluster.run(60_000);
    expect(a.actors.size).toBe(1);
    driver.head.close(replaced);
    await cluster.run(31_000);
    expect(a.idle).toBe(true);
  });
});
