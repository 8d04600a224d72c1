import { WhiprayError } from "@whipray/core";
import { groupCreate } from "@whipray/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { CREATE_WITH_PLACE_MS, JOURNAL_LATER_MS } from "../src/limits.ts";
import type { StoreWrite } from "../src/store.ts";
import { TestCluster, type TestDriver } from "./cluster.ts";

let cluster: TestCluster;
let driver: TestDriver;
let writes: StoreWrite[][] = [];
let refuse = false;
async function start(): Promise<void> {
  [writes, refuse] = [[], false];
  const before = (batch: readonly StoreWrite[]): void => {
    if (refuse) throw new WhiprayError({ code: "STORAGE_FULL", message: "no room", retryable: true });
    if (batch.some(({ table }) => table === "groups")) writes.push([...batch]);
  };
  cluster = await new TestCluster().start({}, { before });
  driver = await cluster.driver("d").open();
}
afterEach(() => cluster.head.stop());

describe("what a group costs the journal", () => {
  test("one write has the group with its place, one its end; CREATED rides along", async () => {
    await start();
    await cluster.node("a", { CPU: 2 });
    const pgId = await driver.group([{ CPU: 1 }]);
    expect((await driver.wait(pgId)).ready).toBe(true);
    expect(writes).toHaveLength(1);
    expect(writes[0]![0]!.value).toMatchObject({ pgId, places: [{ nodeId: "node_a" }] });
    await driver.remove(pgId);
    expect(writes).toHaveLength(2);
    await cluster.run(JOURNAL_LATER_MS);
    expect(writes).toHaveLength(2);
  });

  test("with nothing else to write, CREATED is written by itself soon", async () => {
    await start();
    await cluster.node("a", { CPU: 2 });
    await driver.ready(await driver.group([{ CPU: 1 }]));
    await cluster.run(JOURNAL_LATER_MS);
    expect(writes).toHaveLength(2);
    expect(writes[1]![0]!.value).toMatchObject({ state: "CREATED" });
  });

  test("a head that dies before CREATED was written learns it from the raylet: same place, same attempt", async () => {
    await start();
    const a = await cluster.node("a", { CPU: 2 });
    const pgId = await driver.group([{ CPU: 1 }]);
    expect((await driver.wait(pgId)).ready).toBe(true);
    const before = await driver.table(pgId);
    cluster.killHead();
    await cluster.restartHead({}, { drivers: [driver] });
    expect(a.registered).toMatchObject({ dropBundles: [] });
    expect(await driver.ready(pgId)).toEqual(before);
  });

  test(`a raylet that does not answer delays the reply by ${CREATE_WITH_PLACE_MS} ms at most, then the group is written without a place`, async () => {
    await start();
    const a = await cluster.node("a", { CPU: 2 });
    const gate = Promise.withResolvers<void>();
    a.prepareGate = gate.promise;
    const startedMs = cluster.clock.now();
    const pgId = await driver.group([{ CPU: 1 }]);
    expect(cluster.clock.now() - startedMs).toBe(CREATE_WITH_PLACE_MS);
    expect(writes[0]![0]!.value).toMatchObject({ pgId, state: "PENDING" });
    gate.resolve();
    expect((await driver.ready(pgId)).state).toBe("CREATED");
  });

  test("no place: the reply does not wait for one", async () => {
    await start();
    await cluster.node("a", { CPU: 2 });
    const startedMs = cluster.clock.now();
    await driver.group([{ CPU: 3 }]);
    expect(cluster.clock.now()).toBe(startedMs);
  });

  test("F8: a creation that the journal refuses takes back what raylets prepared for it", async () => {
    await start();
    const a = await cluster.node("a", { CPU: 2 });
    refuse = true;
    await expect(driver.group([{ CPU: 2 }])).rejects.toMatchObject({ code: "STORAGE_FULL" });
    await cluster.settle();
    expect(a.idle).toBe(true);
    refuse = false;
    await cluster.run(2_000);
    expect((await driver.ready(await driver.group([{ CPU: 2 }]))).state).toBe("CREATED");
  });

  test("removed before it was written: nothing of it is written, and both are answered", async () => {
    await start();
    const a = await cluster.node("a", { CPU: 2 });
    const gate = Promise.withResolvers<void>();
    a.prepareGate = gate.promise;
    const made = driver.head.invoke(groupCreate, {
      ...{ pgId: "pg_short", jobId: driver.jobId, namespace: driver.jobId, bundles: [{ CPU: 10_000 }] },
      ...{ strategy: "PACK" as const, detached: false },
    });
    await cluster.settle();
    expect(await driver.remove("pg_short")).toEqual({ found: true });
    await made;
    expect(writes).toEqual([]);
    gate.resolve();
    await cluster.run(100);
    expect(a.idle).toBe(true);
  });
});
