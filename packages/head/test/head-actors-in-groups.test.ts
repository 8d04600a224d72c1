import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestCluster, type TestDriver } from "./cluster.ts";

let cluster: TestCluster;
let driver: TestDriver;
beforeEach(async () => {
  cluster = await new TestCluster().start();
  driver = await cluster.driver("d").open();
});
afterEach(() => cluster.head.stop());

describe("in a placement group", () => {
  test("ray 8.10: index out of range, below -1, or without a group is refused, and nothing leaks (reliability B22)", async () => {
    const a = await cluster.node("a", { CPU: 4 });
    const pgId = await driver.group([{ CPU: 1 }, { CPU: 1 }]);
    await driver.ready(pgId);
    await expect(driver.actor({ CPU: 1 }, { pgId, bundleIndex: 3 })).rejects.toThrow(
      "placement group bundle index 3 is invalid",
    );
    await expect(driver.actor({ CPU: 1 }, { pgId, bundleIndex: -2 })).rejects.toMatchObject({ code: "RANGE" });
    await expect(driver.actor({ CPU: 1 }, { bundleIndex: 0 })).rejects.toThrow("must be -1");
    await driver.remove(pgId);
    await cluster.run(100);
    expect(a.idle).toBe(true);
    await expect(driver.actor({ CPU: 1 }, { pgId })).rejects.toMatchObject({ code: "PLACEMENT_GROUP_REMOVED" });
  });

  test("a request that fits no bundle is refused at once (ray.md 1.3, fit check)", async () => {
    await cluster.node("a", { CPU: 8 });
    const pgId = await driver.group([{ CPU: 1 }, { CPU: 2 }]);
    await expect(driver.actor({ CPU: 4 }, { pgId })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("fits no bundle"),
    });
    await expect(driver.actor({ CPU: 2 }, { pgId, bundleIndex: 0 })).rejects.toThrow("fits not bundle 0");
  });

  test("index -1 is any bundle with room: two actors of one device take both bundles, the third waits", async () => {
    await cluster.node("a", { CPU: 1 }, { gpus: 2 });
    const pgId = await driver.group([{ GPU: 1 }, { GPU: 1 }]);
    const one = await driver.alive(await driver.actor({ GPU: 1 }, { pgId }));
    const two = await driver.alive(await driver.actor({ GPU: 1 }, { pgId }));
    expect([one.bundleIndex, two.bundleIndex]).toEqual([0, 1]);
    expect(one.devices[0]!.uuid).not.toBe(two.devices[0]!.uuid);
    const third = await driver.actor({ GPU: 1 }, { pgId });
    await cluster.run(500);
    expect((await driver.row(third)).waiting).toContain("in use");
    await driver.kill((await driver.row(one.actorId)).actorId);
    expect((await driver.alive(third)).bundleIndex).toBe(0);
  });

  test("ray 8.8: an actor whose group is made later starts then; of one that never comes it is unschedulable", async () => {
    await cluster.node("a", { CPU: 2 });
    const early = await driver.actor({ CPU: 1 }, { pgId: "pg_later" });
    await cluster.run(1_000);
    expect((await driver.row(early)).waiting).toContain("pg_later is not known");
    await driver.group([{ CPU: 1 }], { pgId: "pg_later" });
    await driver.alive(early);
    const never = await driver.actor({ CPU: 1 }, { pgId: "pg_never" });
    expect((await driver.dead(never)).death?.kind).toBe("UNSCHEDULABLE");
  });

  test("ray 8.35: a node dies: group and actor move together once there is a node", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const pgId = await driver.group([{ CPU: 2 }]);
    const actorId = await driver.actor({ CPU: 1 }, { pgId, maxRestarts: -1 });
    await driver.alive(actorId);
    a.kill();
    await cluster.until("restarting", async () => (await driver.state(actorId)) === "RESTARTING", 11_000);
    expect((await driver.row(actorId)).waiting).toContain("RESCHEDULING");
    await cluster.node("b", { CPU: 2 });
    expect(await driver.alive(actorId, 1)).toMatchObject({ nodeId: "node_b", restarts: 1, epoch: 2 });
  });

  test("ray 8.30: a group made by an actor ends when that actor restarts; the actor's own children too", async () => {
    const a = await cluster.node("a", { CPU: 4 });
    const parent = await driver.actor({ CPU: 1 }, { detached: true, maxRestarts: -1 });
    await driver.alive(parent);
    const pgId = await driver.group([{ CPU: 1 }], { creatorActor: parent });
    await driver.ready(pgId);
    const child = await driver.actor({ CPU: 1 }, { ownerActor: parent, maxRestarts: -1 });
    const lasting = await driver.actor({ CPU: 1 }, { ownerActor: parent, detached: true });
    await driver.alive(child);
    await driver.alive(lasting);
    await driver.kill(parent, false);
    expect((await driver.alive(parent, 1)).restarts).toBe(1);
    expect((await driver.table(pgId)).state).toBe("REMOVED");
    expect((await driver.dead(child)).death?.kind).toBe("OWNER_DIED");
    expect(await driver.state(lasting)).toBe("ALIVE");
    await cluster.run(100);
    expect(a.actors.size).toBe(2);
  });
});

describe("names and owners", () => {
  test("ray 8.51: a name is unique in its namespace and free after death (reliability B25)", async () => {
    await cluster.node("a", { CPU: 4 });
    const actorId = await driver.actor({ CPU: 1 }, { name: "counter" });
    await expect(driver.actor({ CPU: 1 }, { name: "counter" })).rejects.toMatchObject({
      name: "ActorAlreadyExistsError",
      code: "NAME_TAKEN",
    });
    expect((await driver.named("counter")).actorId).toBe(actorId);
    await driver.actor({ CPU: 1 }, { name: "counter", namespace: "elsewhere" });
    await driver.kill(actorId);
    await expect(driver.named("counter")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
    await driver.alive(await driver.actor({ CPU: 1 }, { name: "counter" }));
  });

  test("getIfExists finds the living one, makes one otherwise, and needs a name", async () => {
    await cluster.node("a", { CPU: 4 });
    const first = await driver.actor({ CPU: 1 }, { name: "one" }, true);
    expect(await driver.actor({ CPU: 1 }, { name: "one" }, true)).toBe(first);
    await expect(driver.actor({ CPU: 1 }, {}, true)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("ray 8.51: a detached actor outlives its driver and is reachable from the next", async () => {
    await cluster.node("a", { CPU: 4 });
    const first = await cluster.driver("x").open("team");
    const lasting = await first.actor({ CPU: 1 }, { detached: true, name: "store", namespace: "team" });
    const brief = await first.actor({ CPU: 1 });
    await first.alive(lasting);
    await first.alive(brief);
    await first.close();
    expect((await driver.dead(brief)).death?.kind).toBe("OWNER_DIED");
    const second = await cluster.driver("y").open("team");
    expect(await second.named("store", "team")).toMatchObject({ actorId: lasting, state: "ALIVE" });
  });

  test("a job's whole tree ends: actors of actors, and groups of actors", async () => {
    const a = await cluster.node("a", { CPU: 8 });
    const brief = await cluster.driver("x").open();
    const parent = await brief.actor({ CPU: 1 });
    const child = await brief.actor({ CPU: 1 }, { ownerActor: parent });
    const grandchild = await brief.actor({ CPU: 1 }, { ownerActor: child });
    const pgId = await brief.group([{ CPU: 1 }], { creatorActor: child });
    for (const actorId of [parent, child, grandchild]) await brief.alive(actorId);
    await brief.ready(pgId);
    await brief.close();
    expect(a.idle).toBe(true);
    await expect(driver.actor({ CPU: 1 }, { ownerActor: child })).rejects.toMatchObject({ code: "OWNER_DIED" });
  });

  test("only its own driver closes a job", async () => {
    const other = await cluster.driver("x").open();
    const { jobClose } = await import("@whipray/rpc");
    await expect(other.head.invoke(jobClose, { jobId: driver.jobId })).rejects.toMatchObject({ code: "FORBIDDEN" });
  });
});
