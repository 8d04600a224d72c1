import { kvDelete, kvGet, kvPut } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { TestCluster, type TestDriver } from "./cluster.ts";

/** What the driver was told, in the order in which it was told. */
type Acknowledged = Set<
  "group" | "ready" | "actor" | "alive" | "put" | "deleted" | "killed" | "removed" | "second" | "named"
>;

const PG = "pg_first";
const SECOND = "pg_second";
const ACTOR = "actor_first";
const VICTIM = "actor_victim";

/** A life in which every kind of record is made, changed and deleted. */
async function live(driver: TestDriver, told: Acknowledged): Promise<void> {
  const kv = { namespace: "n", value: Uint8Array.of(1, 2), overwrite: true };
  await driver.group([{ CPU: 1 }, { CPU: 1 }], { pgId: PG, name: "first" });
  told.add("group");
  await driver.wait(PG, 60_000);
  told.add("ready");
  await driver.actor({ CPU: 1 }, { actorId: ACTOR, pgId: PG, maxRestarts: 3 });
  told.add("actor");
  await driver.alive(ACTOR);
  told.add("alive");
  await driver.head.invoke(kvPut, { ...kv, key: "kept" });
  told.add("put");
  await driver.head.invoke(kvPut, { ...kv, key: "gone" });
  await driver.head.invoke(kvDelete, { namespace: "n", key: "gone", prefix: false });
  told.add("deleted");
  await driver.actor({ CPU: 1 }, { actorId: VICTIM, detached: true, name: "victim", maxRestarts: -1 });
  told.add("named");
  await driver.alive(VICTIM);
  await driver.kill(VICTIM);
  told.add("killed");
  await driver.group([{ CPU: 1 }], { pgId: SECOND, name: "second", detached: true });
  told.add("second");
  await driver.wait(SECOND, 60_000);
  await driver.remove(SECOND);
  told.add("removed");
}

async function check(cluster: TestCluster, driver: TestDriver, told: Acknowledged): Promise<void> {
  const [raylet] = cluster.raylets;
  if (told.has("group")) expect((await driver.ready(PG)).name).toBe("first");
  if (told.has("actor")) expect((await driver.alive(ACTOR)).pgId).toBe(PG);
  const get = async (key: string) => (await driver.head.invoke(kvGet, { namespace: "n", key })).value;
  if (told.has("put")) expect(await get("kept")).toEqual(Uint8Array.of(1, 2));
  if (told.has("deleted")) expect(await get("gone")).toBeUndefined();
  if (told.has("named") && !told.has("killed")) expect(["victim"]).toContain((await driver.row(VICTIM)).name);
  if (told.has("killed")) {
    expect(await driver.state(VICTIM)).toBe("DEAD");
    await expect(driver.named("victim")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
  }
  if (told.has("second") && !told.has("removed")) await driver.table(SECOND);
  if (told.has("removed")) expect((await driver.table(SECOND))?.state ?? "REMOVED").toBe("REMOVED");
  // Head and raylet agree about what is there, and nothing is left when all is taken away.
  await cluster.run(6_000);
  const bundles = cluster.head
    .status()
    .groups.flatMap((group) => group.bundles.flatMap((one) => (one.nodeId ? [`${group.pgId} ${one.index}`] : [])));
  expect([...raylet!.bundles.keys()].sort()).toEqual(bundles.sort());
  const running = cluster.head
    .status()
    .actors.filter((actor) => actor.state === "ALIVE")
    .map((actor) => actor.actorId);
  expect([...raylet!.actors.keys()].sort()).toEqual(running.sort());
  for (const group of cluster.head.status().groups) await driver.remove(group.pgId);
  for (const actorId of running) await driver.kill(actorId);
  await cluster.run(6_000);
  expect(raylet!.idle).toBe(true);
}

/** Writes of the scenario, counted once. */
async function countWrites(): Promise<number> {
  let writes = 0;
  const cluster = await new TestCluster().start({}, { after: () => void writes++ });
  const driver = await cluster.driver("d").open();
  await cluster.node("a", { CPU: 8 });
  let done = false;
  void live(driver, new Set()).then(() => {
    done = true;
  });
  await cluster.until("the scenario is over", () => done);
  await cluster.run(1_000);
  await cluster.head.stop();
  return writes;
}

describe("F7, P7: the head is killed at every write of its journal", async () => {
  const writes = await countWrites();
  test("the scenario writes often enough to mean something", () => expect(writes).toBeGreaterThan(15));

  test.each(["before", "after"] as const)(
    "%s the write: nothing that was acknowledged is lost, nothing leaks",
    async (when) => {
      for (let point = 3; point <= writes; point++) {
        const cluster = new TestCluster();
        let seen = 0;
        let dead = false;
        const never = new Promise<void>(() => undefined);
        const hook = (): Promise<void> | undefined => {
          if (++seen < point) return undefined;
          dead = true;
          return never;
        };
        await cluster.start({}, { [when]: hook });
        const driver = cluster.driver("d");
        const told: Acknowledged = new Set();
        const opened = driver.open();
        await cluster.until("the job is open, or the head dead", async () => dead || (await settled(opened)));
        if (!dead)
          void cluster
            .node("a", { CPU: 8 })
            .then(() => live(driver, told))
            .catch(() => undefined);
        await cluster.until(`write ${point}`, () => dead);
        cluster.killHead();
        await cluster.run(100);
        await cluster.restartHead({}, { drivers: [driver] });
        await check(cluster, driver, told);
        await cluster.head.stop();
      }
    },
  );
});

async function settled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol();
  return (await Promise.race([promise, new Promise((resolve) => setImmediate(resolve, pending))])) !== pending;
}

describe("F8: the disk is full for a while", () => {
  test("new operations are refused with STORAGE_FULL and leave nothing; what runs goes on; then it recovers", async () => {
    let full = false;
    const { WhiprayError } = await import("@whipray/core");
    const cluster = new TestCluster();
    const before = (): void => {
      if (full) throw new WhiprayError({ code: "STORAGE_FULL", message: "no room", retryable: true });
    };
    await cluster.start({}, { before });
    const driver = await cluster.driver("d").open();
    const a = await cluster.node("a", { CPU: 8 });
    const pgId = await driver.group([{ CPU: 1 }]);
    await driver.ready(pgId);
    const actorId = await driver.actor({ CPU: 1 }, { maxRestarts: -1 });
    await driver.alive(actorId);
    full = true;
    await expect(driver.group([{ CPU: 1 }], { pgId: "pg_late", name: "late" })).rejects.toMatchObject({
      code: "STORAGE_FULL",
    });
    await expect(driver.actor({ CPU: 1 }, { name: "late" })).rejects.toMatchObject({ code: "STORAGE_FULL" });
    await expect(cluster.driver("x").open()).rejects.toMatchObject({ code: "STORAGE_FULL" });
    const key = { namespace: "n", key: "k", value: Uint8Array.of(1), overwrite: true };
    await expect(driver.head.invoke(kvPut, key)).rejects.toMatchObject({ code: "STORAGE_FULL" });
    expect(await driver.head.invoke(kvGet, { namespace: "n", key: "k" })).toEqual({});
    await expect(driver.remove(pgId)).rejects.toMatchObject({ code: "STORAGE_FULL" });
    void a.crash(actorId);
    await cluster.run(15_000);
    expect(cluster.head.status().nodes[0]?.state).toBe("ALIVE");
    expect(cluster.head.status().trouble).toBe("no room");
    expect(await driver.row(actorId)).toMatchObject({
      state: "RESTARTING",
      waiting: expect.stringContaining("no room"),
    });
    full = false;
    expect((await driver.alive(actorId, 1)).restarts).toBe(1);
    await driver.ready(await driver.group([{ CPU: 1 }], { pgId: "pg_late", name: "late" }));
    await cluster.run(2_000);
    expect(cluster.head.status().trouble).toBeUndefined();
    expect(cluster.disk.has(`groups ${pgId}`)).toBe(false);
    await cluster.head.stop();
  });
});

describe("F10: a slow fsync", () => {
  test("5 s for each write: beats go on, operations are slow and not lost", async () => {
    const cluster = new TestCluster();
    let slow = false;
    const before = async (): Promise<void> => {
      if (slow) await new Promise<void>((resolve) => cluster.clock.after(5_000, resolve));
    };
    await cluster.start({}, { before });
    const driver = await cluster.driver("d").open();
    await cluster.node("a", { CPU: 8 });
    slow = true;
    const made = driver.group([{ CPU: 1 }]);
    await cluster.run(5_100);
    const pgId = await made;
    await cluster.run(20_000);
    expect((await driver.table(pgId)).state).toBe("CREATED");
    expect(cluster.head.status().nodes[0]?.state).toBe("ALIVE");
    slow = false;
    await cluster.head.stop();
  });
});
