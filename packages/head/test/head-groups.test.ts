import { groupTable } from "@whipray/rpc";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestCluster, type TestDriver } from "./cluster.ts";

let cluster: TestCluster;
let driver: TestDriver;
beforeEach(async () => {
  cluster = await new TestCluster().start();
  driver = await cluster.driver("d").open();
});
afterEach(() => cluster.head.stop());

const nodesOf = (group: { bundles: { nodeId?: string | undefined }[] }) => group.bundles.map((bundle) => bundle.nodeId);

describe("placing", () => {
  test("ray 8.1, 8.15: a group becomes CREATED; waiting again answers at once with the same id and bundles", async () => {
    await cluster.node("a", { CPU: 2 });
    const pgId = await driver.group([{ CPU: 2 }]);
    const group = await driver.ready(pgId);
    expect(group).toMatchObject({
      pgId,
      state: "CREATED",
      reasons: [],
      bundles: [{ index: 0, units: { CPU: 20_000 }, nodeId: "node_a" }],
    });
    expect(await driver.wait(pgId, 0)).toMatchObject({ ready: true });
    expect(cluster.raylets[0]!.log).toEqual([`prepare ${pgId} 0`, `commit ${pgId} 0`]);
  });

  test("ray 8.1: reserved names, empty bundles and wrong amounts are refused (reliability B19, B20)", async () => {
    for (const bad of [{ bundle: 1 }, { GPU: 1.5 }, {}, { CPU: 0 }]) {
      await expect(driver.group([bad as Record<string, number>])).rejects.toMatchObject({ code: "INVALID_RESOURCES" });
    }
    await expect(driver.group([])).rejects.toMatchObject({ code: "INVALID_RESOURCES" });
    await expect(driver.group([{ CPU: 1 }], { labels: [{}, {}] })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(driver.group([{ CPU: 1 }], { strategy: "LOOSE" as never })).rejects.toMatchObject({
      code: "INVALID_MESSAGE",
    });
  });

  test("B19: numbers that are none and amounts beyond the limit are refused, and nothing changes", async () => {
    const raylet = await cluster.node("a", { CPU: 2 }, { gpus: 1 });
    const more = (await driver.head.invoke(groupTable, {})).groups.length;
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1, -0, 1e300]) {
      // On the wire a count is a whole number, before anybody asks what it counts (B11).
      await expect(driver.group([{ CPU: 1 }, { GPU: bad }]), String(bad)).rejects.toMatchObject({ code: "RANGE" });
    }
    await expect(driver.group([{ CPU: 1 }, { memory: 1e15 }])).rejects.toMatchObject({ code: "INVALID_RESOURCES" });
    await cluster.run(1_000);
    expect((await driver.head.invoke(groupTable, {})).groups.length).toBe(more);
    expect(raylet.log).toEqual([]);
    await driver.ready(await driver.group([{ CPU: 2, GPU: 1 }]));
  });

  test("B19: GPU 1e9 takes nothing: it waits as infeasible and says what is missing", async () => {
    const raylet = await cluster.node("a", { CPU: 2 }, { gpus: 2 });
    const pgId = await driver.group([{ GPU: 1 }, { GPU: 1e9 }]);
    await cluster.run(1_000);
    expect(await driver.table(pgId)).toMatchObject({
      state: "PENDING",
      reasons: [{ bundle: 1, kind: "infeasible", missing: { GPU: (1e9 - 2) * 10_000 } }],
    });
    expect(raylet.log).toEqual([]);
    await driver.ready(await driver.group([{ GPU: 2 }]));
  });

  test("ray 8.2: a zero in a bundle is harmless", async () => {
    await cluster.node("a", { CPU: 4 });
    const group = await driver.ready(await driver.group([{ CPU: 2, GPU: 0 }, { CPU: 2 }]));
    expect(nodesOf(group)).toEqual(["node_a", "node_a"]);
  });

  test("ray 8.12: two groups of one device get different devices of a node", async () => {
    await cluster.node("a", { CPU: 2 }, { gpus: 2 });
    const [one, two] = await Promise.all([driver.group([{ GPU: 1 }]), driver.group([{ GPU: 1 }])]);
    const uuids = [(await driver.ready(one)).bundles, (await driver.ready(two)).bundles].map(
      (bundles) => bundles[0]!.devices[0]!.uuid,
    );
    expect(new Set(uuids).size).toBe(2);
  });

  test("pg.create is idempotent by id", async () => {
    await cluster.node("a", { CPU: 2 });
    const pgId = await driver.group([{ CPU: 1 }]);
    await driver.group([{ CPU: 1 }], { pgId });
    await driver.ready(pgId);
    await driver.group([{ CPU: 1 }], { pgId });
    await cluster.run(1_000);
    expect(cluster.raylets[0]!.log).toEqual([`prepare ${pgId} 0`, `commit ${pgId} 0`]);
  });
});

describe("waiting", () => {
  test("ray 8.14, 8.27, 8.28: an unsatisfiable group stays PENDING, says why, and its wait returns in time", async () => {
    await cluster.node("a", { CPU: 1 });
    const pgId = await driver.group([{ CPU: 2 }]);
    const waiting = driver.wait(pgId, 1_000);
    await cluster.run(1_000);
    const { ready, group } = await waiting;
    expect(ready).toBe(false);
    expect(group).toMatchObject({
      state: "PENDING",
      reasons: [{ bundle: 0, kind: "infeasible", missing: { CPU: 10_000 }, nodeId: "node_a" }],
    });
  });

  test("ray 8.16: an infeasible group becomes CREATED when a node with the device joins", async () => {
    await cluster.node("a", { CPU: 4 });
    const pgId = await driver.group([{ GPU: 1 }]);
    await cluster.run(2_000);
    expect((await driver.table(pgId)).reasons[0]?.kind).toBe("infeasible");
    await cluster.node("b", { CPU: 1 }, { gpus: 1 });
    expect(nodesOf(await driver.ready(pgId))).toEqual(["node_b"]);
  });

  test("ray 8.17: a group is wholly unplaced while tasks hold what it needs, and placed when they end", async () => {
    const a = await cluster.node("a", { CPU: 4 });
    const b = await cluster.node("b", { CPU: 4 });
    a.occupy({ CPU: 3 });
    b.occupy({ CPU: 3 });
    const pgId = await driver.group([{ CPU: 2 }, { CPU: 2 }, { CPU: 2 }, { CPU: 2 }]);
    await cluster.run(2_000);
    const waiting = await driver.table(pgId);
    expect(nodesOf(waiting)).toEqual([undefined, undefined, undefined, undefined]);
    expect(waiting.reasons.every((reason) => reason.kind === "busy")).toBe(true);
    expect([a.bundles.size, b.bundles.size]).toEqual([0, 0]);
    a.vacate({ CPU: 3 });
    b.vacate({ CPU: 3 });
    expect((await driver.ready(pgId)).state).toBe("CREATED");
  });

  test("a deadline removes the group and says what was missing, bundle by bundle", async () => {
    await cluster.node("a", { CPU: 1 });
    const pgId = await driver.group([{ CPU: 1 }, { GPU: 2 }], { timeoutMs: 2_000 });
    const waiting = driver.wait(pgId);
    waiting.catch(() => undefined);
    await cluster.run(2_500);
    await expect(waiting).rejects.toMatchObject({
      code: "PLACEMENT_TIMEOUT",
      message: expect.stringContaining("bundle 1 infeasible: needs 2 GPU"),
    });
    expect((await driver.table(pgId)).state).toBe("REMOVED");
    await expect(driver.wait(pgId, 0)).rejects.toMatchObject({ code: "PLACEMENT_TIMEOUT" });
  });

  test("timeoutMs 0 tries once: placed if there is room, else gone with reasons", async () => {
    await cluster.node("a", { CPU: 1 });
    expect((await driver.ready(await driver.group([{ CPU: 1 }], { timeoutMs: 0 }))).state).toBe("CREATED");
    const full = driver.wait(await driver.group([{ CPU: 1 }], { timeoutMs: 0 }));
    full.catch(() => undefined);
    await cluster.run(500);
    await expect(full).rejects.toMatchObject({ code: "PLACEMENT_TIMEOUT" });
  });

  test("a wait for an unknown group is NOT_FOUND; one that ends with its caller's session leaves no waiter", async () => {
    await expect(driver.wait("pg_nowhere")).rejects.toMatchObject({ code: "NOT_FOUND" });
    const other = await cluster.driver("o").open();
    other.wait(await driver.group([{ CPU: 1 }])).catch(() => undefined);
    await cluster.settle();
    expect(cluster.head.status().waiters).toBe(1);
    await other.endpoint.close();
    await cluster.settle();
    expect(cluster.head.status().waiters).toBe(0);
  });
});

describe("removal", () => {
  test("ray 8.19: removing an unknown group is fine, three times; removing twice too; resources come back", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    for (let i = 0; i < 3; i++) expect(await driver.remove("pg_unknown")).toEqual({ found: false });
    const pgId = await driver.group([{ CPU: 2 }]);
    await driver.ready(pgId);
    expect(await driver.remove(pgId)).toEqual({ found: true });
    expect(await driver.remove(pgId)).toEqual({ found: false });
    await cluster.run(100);
    expect(a.idle).toBe(true);
  });

  test("ray 8.19: removal ends the actors inside", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const pgId = await driver.group([{ CPU: 2 }]);
    const actorId = await driver.actor({ CPU: 1 }, { pgId, maxRestarts: -1 });
    await driver.alive(actorId);
    await driver.remove(pgId);
    expect((await driver.dead(actorId)).death).toMatchObject({ kind: "GROUP_REMOVED" });
    await cluster.run(100);
    expect(a.idle).toBe(true);
  });

  test("ray 8.20, 8.22: a pending group can be removed; its waiters hear it; others are placed", async () => {
    await cluster.node("a", { CPU: 2 });
    const pgId = await driver.group([{ CPU: 4 }]);
    const waiting = driver.wait(pgId);
    waiting.catch(() => undefined);
    await cluster.settle();
    await driver.remove(pgId);
    await expect(waiting).rejects.toMatchObject({ code: "PLACEMENT_GROUP_REMOVED" });
    expect((await driver.ready(await driver.group([{ CPU: 2 }]))).state).toBe("CREATED");
  });

  test("removal in the middle of a prepare takes back what was prepared", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const gate = Promise.withResolvers<void>();
    a.prepareGate = gate.promise;
    const pgId = await driver.group([{ CPU: 2 }]);
    await cluster.settle();
    await driver.remove(pgId);
    gate.resolve();
    await cluster.run(100);
    expect(a.idle).toBe(true);
    a.prepareGate = undefined;
    expect((await driver.ready(await driver.group([{ CPU: 2 }]))).state).toBe("CREATED");
  });

  test("ray 8.23: six groups of 2 CPU on 4 CPU: as ready ones go, the rest become ready", async () => {
    await cluster.node("a", { CPU: 4 });
    const waiting = new Set(await Promise.all(Array.from({ length: 6 }, () => driver.group([{ CPU: 2 }]))));
    await cluster.until("all six had their turn", async () => {
      for (const pgId of [...waiting]) {
        if ((await driver.table(pgId)).state !== "CREATED") continue;
        await driver.remove(pgId);
        waiting.delete(pgId);
      }
      return waiting.size === 0;
    });
  });

  test("ray 8.25: twenty concurrent create, use, remove cycles of any strategy never hang and leave nothing", async () => {
    for (const name of ["a", "b", "c"]) await cluster.node(name, { CPU: 4 });
    const strategies = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] as const;
    let done = 0;
    const cycles = Array.from({ length: 20 }, async (_, at) => {
      const pgId = await driver.group([{ CPU: 1 }, { CPU: 1 }], { strategy: strategies[at % 4]! });
      await driver.wait(pgId, 60_000);
      const actorId = await driver.actor({ CPU: 1 }, { pgId, bundleIndex: 1 });
      await driver.head.invoke((await import("@whipray/rpc")).actorResolve, { actorId, wait: true, timeoutMs: 60_000 });
      await driver.remove(pgId);
      done++;
    });
    await cluster.until("all cycles are done", () => done === 20, 120_000);
    await Promise.all(cycles);
    await cluster.run(1_000);
    expect(cluster.raylets.every((raylet) => raylet.idle)).toBe(true);
  });
});

describe("names and owners", () => {
  test("ray 8.32: a name is unique in its namespace, found from another driver, and free after removal", async () => {
    await cluster.node("a", { CPU: 4 });
    const other = await cluster.driver("o").open();
    const options = { name: "pair", namespace: "shared", detached: true };
    const pgId = await driver.group([{ CPU: 1 }], options);
    await expect(other.group([{ CPU: 1 }], options)).rejects.toMatchObject({
      code: "NAME_TAKEN",
      details: { holder: pgId },
    });
    const found = await other.head.invoke((await import("@whipray/rpc")).groupTable, {
      name: "pair",
      namespace: "shared",
    });
    expect(found.groups[0]?.pgId).toBe(pgId);
    await driver.remove(pgId);
    await other.ready(await other.group([{ CPU: 1 }], options));
    const absent = await other.head.invoke((await import("@whipray/rpc")).groupTable, {
      name: "nobody",
      namespace: "shared",
    });
    expect(absent.groups).toEqual([]);
  });

  test("B24: a bad name is refused", async () => {
    for (const name of ["", "../x", "a b", "ａ", "x".repeat(128).concat("!"), "a\0"]) {
      await expect(driver.group([{ CPU: 1 }], { name })).rejects.toMatchObject({
        code: expect.stringMatching(/INVALID_NAME|RANGE/),
      });
    }
  });

  test("ray 8.29, 8.31: a job's groups end with it, detached ones live until they are removed", async () => {
    const a = await cluster.node("a", { CPU: 4 });
    const brief = await cluster.driver("b").open();
    const mine = await brief.group([{ CPU: 1 }]);
    const lasting = await brief.group([{ CPU: 1 }], { detached: true });
    await brief.ready(mine);
    await brief.ready(lasting);
    let closed = false;
    void brief.close().then(() => {
      closed = true;
    });
    await cluster.until("the job is closed", () => closed);
    expect([...a.bundles.keys()]).toEqual([`${lasting} 0`]);
    expect((await driver.table(lasting)).state).toBe("CREATED");
    await driver.remove(lasting);
    await cluster.run(100);
    expect(a.idle).toBe(true);
  });

  test("F44: a driver whose session ends loses its groups and actors at once", async () => {
    const a = await cluster.node("a", { CPU: 4 });
    const brief = await cluster.driver("b").open();
    await brief.ready(await brief.group([{ CPU: 1 }]));
    await brief.alive(await brief.actor({ CPU: 1 }));
    await brief.endpoint.close();
    await cluster.run(500);
    expect(a.idle).toBe(true);
  });

  test("nothing can be made for a job that is not open", async () => {
    await expect(driver.group([{ CPU: 1 }], { jobId: "job_never" })).rejects.toMatchObject({ code: "OWNER_DIED" });
  });
});
