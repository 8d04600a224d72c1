import { nodeRooms } from "@whipray/rpc";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestCluster, type TestDriver } from "./cluster.ts";
import type { FakeRaylet } from "./fake-raylet.ts";

let cluster: TestCluster;
let driver: TestDriver;
beforeEach(async () => {
  cluster = await new TestCluster().start();
  driver = await cluster.driver("d").open();
});
afterEach(() => cluster.head.stop());

const nodesOf = (group: { bundles: { nodeId?: string | undefined }[] }) => group.bundles.map((bundle) => bundle.nodeId);

describe("failure", () => {
  async function pair(): Promise<{ a: FakeRaylet; b: FakeRaylet; pgId: string }> {
    const a = await cluster.node("a", { CPU: 2 });
    const b = await cluster.node("b", { CPU: 2 });
    return { a, b, pgId: await driver.group([{ CPU: 2 }, { CPU: 2 }], { strategy: "STRICT_SPREAD" }) };
  }

  test("ray 8.35 (first half): a node dies after CREATED: only its bundle is placed anew, the other stays", async () => {
    const { a, pgId } = await pair();
    const before = await driver.ready(pgId);
    const [lost] = before.bundles.filter((bundle) => bundle.nodeId === "node_b");
    cluster.raylets[1]!.kill();
    await cluster.until("rescheduling", async () => (await driver.table(pgId)).state === "RESCHEDULING", 11_000);
    const waiting = await driver.table(pgId);
    expect(waiting.bundles.filter((bundle) => bundle.nodeId === "node_a")).toHaveLength(1);
    expect(waiting.reasons).toMatchObject([{ bundle: lost!.index, kind: "strategy" }]);
    await cluster.node("c", { CPU: 2 });
    await cluster.until("created again", async () => (await driver.table(pgId)).state === "CREATED");
    expect(new Set(nodesOf(await driver.table(pgId)))).toEqual(new Set(["node_a", "node_c"]));
    expect(a.log.filter((line) => line.startsWith("prepare"))).toHaveLength(1);
  });

  test("F34: a bundle all of whose devices are lost gets others; one that has a device left stays, and so does who runs there", async () => {
    const a = await cluster.node("a", { CPU: 4 }, { gpus: 4 });
    const pgId = await driver.group([{ GPU: 1 }, { GPU: 2 }]);
    const before = await driver.ready(pgId);
    const indices = (index: number, group = before) => group.bundles[index]!.devices.map((device) => device.index);
    expect([indices(1), indices(0)]).toEqual([[0, 1], [2]]);
    await a.sees(0, 2);
    const after = await driver.ready(pgId);
    expect([indices(1, after), indices(0, after)]).toEqual([[0, 1], [3]]);
    expect(a.log.filter((line) => line.startsWith("release"))).toEqual([`release ${pgId} 0`]);
    // Told again, nothing more is lost.
    await a.sees(0, 2);
    expect((await driver.table(pgId)).state).toBe("CREATED");
    // Device 1 is what is left, and it is not free: now it waits, and says why.
    await a.sees(0, 2, 3);
    await cluster.until("rescheduling", async () => (await driver.table(pgId)).state === "RESCHEDULING");
    expect((await driver.table(pgId)).reasons).toMatchObject([{ bundle: 0, kind: "busy", missing: { GPU: 10_000 } }]);
  });

  test("F42: a node leaves in the middle of a prepare: the rest is rolled back within 2 s and placed elsewhere", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const b = await cluster.node("b", { CPU: 2 });
    b.prepareGate = new Promise(() => undefined);
    const pgId = await driver.group([{ CPU: 2 }, { CPU: 2 }], { strategy: "STRICT_SPREAD" });
    await cluster.settle();
    expect(a.bundles.size).toBe(1);
    cluster.net.cut("head/head", "node_b/raylet");
    cluster.head.linkLost("node_b");
    await cluster.run(100);
    expect(a.bundles.size).toBe(0);
    await cluster.node("c", { CPU: 2 });
    expect(new Set(nodesOf(await driver.ready(pgId)))).toEqual(new Set(["node_a", "node_c"]));
  });

  test("a node that never answers a prepare does not hold the group for more than 2 s", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    a.prepareGate = new Promise(() => undefined);
    const pgId = await driver.group([{ CPU: 2 }]);
    await cluster.run(1_000);
    await cluster.node("b", { CPU: 2 });
    a.occupy({ CPU: 1 });
    expect(nodesOf(await driver.ready(pgId))).toEqual(["node_b"]);
  });

  test("a refusal brings a fresh view, and the group is tried again at once with it", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    await cluster.node("b", { CPU: 2, memory: 1 });
    // The ledger changed and the head has not heard of it: a task took the CPUs next to the raylet.
    cluster.net.cut("node_a/raylet", "head/head");
    a.occupy({ CPU: 2 });
    await cluster.settle();
    const pgId = await driver.group([{ CPU: 2 }]);
    await cluster.settle();
    cluster.net.heal();
    expect(nodesOf(await driver.ready(pgId))).toEqual(["node_b"]);
    expect((await driver.table(pgId)).attempts).toBeLessThanOrEqual(2);
  });

  test("refusals in a row are tried with growing waits, not in a hot loop, and the reason says so", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    a.refusePrepare = "device lock is held by pid 42";
    const pgId = await driver.group([{ CPU: 2 }]);
    await cluster.run(5_000);
    const waiting = await driver.table(pgId);
    expect(waiting.attempts).toBeLessThan(15);
    expect(waiting.reasons[0]?.text).toContain("device lock is held by pid 42");
    a.refusePrepare = undefined;
    expect((await driver.ready(pgId)).state).toBe("CREATED");
  });

  test("F43: two groups race for the last devices: one wins, the other waits with a reason, none is partial", async () => {
    await cluster.node("a", { CPU: 1 }, { gpus: 2 });
    const [one, two] = await Promise.all([
      driver.group([{ GPU: 1 }, { GPU: 1 }]),
      driver.group([{ GPU: 1 }, { GPU: 1 }]),
    ]);
    await cluster.run(1_000);
    const groups = [await driver.table(one), await driver.table(two)];
    expect(groups.map((group) => group.state).sort()).toEqual(["CREATED", "PENDING"]);
    const loser = groups.find((group) => group.state === "PENDING")!;
    expect(nodesOf(loser)).toEqual([undefined, undefined]);
    expect(loser.reasons[0]).toMatchObject({ kind: "busy", missing: { GPU: 10_000 } });
  });

  test("ray 2.5: a raylet that was killed and comes back with a new incarnation has lost its bundles: the group is placed anew", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const pgId = await driver.group([{ CPU: 2 }]);
    await driver.ready(pgId);
    a.kill();
    await cluster.run(3_500);
    const { FakeRaylet: Again } = await import("./fake-raylet.ts");
    const reborn = new Again(cluster.net, "node_a", { CPU: 2 }, { inc: "inc_a2" });
    await reborn.join();
    await cluster.until("placed anew", async () => reborn.bundles.size === 1);
    await cluster.until("created again", async () => (await driver.table(pgId)).state === "CREATED");
  });
});

describe("starvation", () => {
  test("a group that waited longer than starvationMs holds what frees up; younger ones pass only beside it", async () => {
    const a = await cluster.node("a", { CPU: 4 });
    const b = await cluster.node("b", { CPU: 2 });
    a.occupy({ CPU: 4 });
    b.occupy({ CPU: 2 });
    const large = await driver.group([{ CPU: 4 }]);
    await cluster.run(6_000);
    const small = await driver.group([{ CPU: 1 }]);
    a.vacate({ CPU: 2 });
    await cluster.run(1_000);
    expect((await driver.table(small)).state).toBe("PENDING");
    expect((await driver.table(small)).reasons[0]?.text).toContain(`held back for ${large}`);
    const actorId = await driver.actor({ CPU: 1 });
    await cluster.run(1_000);
    expect(await driver.state(actorId)).toBe("PENDING_CREATION");
    b.vacate({ CPU: 1 });
    expect(nodesOf(await driver.ready(small))).toEqual(["node_b"]);
    a.vacate({ CPU: 2 });
    expect(nodesOf(await driver.ready(large))).toEqual(["node_a"]);
  });

  test("raylets are told what is held on their nodes, and views for tasks are without it, until the group is placed", async () => {
    const a = await cluster.node("a", { CPU: 4 });
    const b = await cluster.node("b", { CPU: 1 });
    const free = async () => {
      const { nodes = [] } = await b.head.invoke(nodeRooms, {});
      return nodes.map((node) => [node.nodeId, node.total["CPU"], node.free["CPU"] ?? 0]);
    };
    a.occupy({ CPU: 3 });
    await cluster.run(500);
    expect(await free()).toEqual([
      ["node_a", 40_000, 10_000],
      ["node_b", 10_000, 10_000],
    ]);
    const large = await driver.group([{ CPU: 2 }, { CPU: 2 }], { strategy: "STRICT_PACK" });
    await cluster.run(6_000);
    expect([a.held, b.held]).toEqual([{ CPU: 40_000 }, {}]);
    expect(await free()).toEqual([
      ["node_a", 40_000, 0],
      ["node_b", 10_000, 10_000],
    ]);
    a.vacate({ CPU: 3 });
    await driver.ready(large);
    await cluster.run(500);
    expect(a.held).toEqual({});
  });

  test("an infeasible group holds nothing back", async () => {
    await cluster.node("a", { CPU: 4 });
    await driver.group([{ CPU: 64 }]);
    await cluster.run(10_000);
    expect((await driver.ready(await driver.group([{ CPU: 4 }]))).state).toBe("CREATED");
  });
});
