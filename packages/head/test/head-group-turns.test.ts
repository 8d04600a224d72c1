import { delay } from "@whipray/core";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestCluster, type TestDriver } from "./cluster.ts";

let cluster: TestCluster;
let driver: TestDriver;
beforeEach(async () => {
  cluster = await new TestCluster().start();
  driver = await cluster.driver("d").open();
});
afterEach(() => cluster.head.stop());

const state = async (pgId: string): Promise<string> => (await driver.table(pgId)).state;

describe("independent groups are placed at the same time", () => {
  test("Ray 8.83: a prepare that takes 2 s delays its own group alone", async () => {
    const a = await cluster.node("a", { special: 1 });
    await cluster.node("b", { CPU: 4 });
    a.prepareGate = delay(cluster.clock, 1_900);
    const slow = await driver.group([{ special: 1 }]);
    await cluster.settle();
    const others = await Promise.all(Array.from({ length: 4 }, () => driver.group([{ CPU: 1 }])));
    await cluster.run(100);
    expect(await Promise.all(others.map(state))).toEqual(Array(4).fill("CREATED"));
    await cluster.run(900);
    expect(await state(slow)).toBe("PENDING");
    expect((await driver.ready(slow)).state).toBe("CREATED");
  });

  test("a gang of all nodes starts under a stream of small groups that come and go (mechanism 4)", async () => {
    for (const name of ["a", "b", "c", "d"]) await cluster.node(name, { CPU: 4 });
    const small = new Set<string>();
    let made = 0;
    const turn = async (): Promise<void> => {
      // Always more of them than there is room for; each lives for a while once it is placed.
      while (small.size < 20) {
        const pgId = await driver.group([{ CPU: 1 }]);
        made++;
        small.add(pgId);
      }
      for (const pgId of [...small].slice(0, 6)) {
        if ((await state(pgId)) !== "CREATED") continue;
        await driver.remove(pgId);
        small.delete(pgId);
      }
      await cluster.run(250);
    };
    for (let round = 0; round < 8; round++) await turn();
    const gang = await driver.group(Array(4).fill({ CPU: 4 }), { strategy: "STRICT_SPREAD" });
    let rounds = 0;
    while ((await state(gang)) !== "CREATED") {
      expect(rounds++).toBeLessThan(120);
      await turn();
    }
    const before = made;
    await driver.remove(gang);
    for (let round = 0; round < 8; round++) await turn();
    expect(made).toBeGreaterThan(before);
  });
});

describe("label selectors, one per bundle (ray.md 1.3)", () => {
  test("each bundle goes to a node with its labels; one that no node has is infeasible, and says which", async () => {
    await cluster.node("a", { CPU: 4 });
    await cluster.node("b", { CPU: 4 });
    const pgId = await driver.group([{ CPU: 1 }, { CPU: 1 }, { CPU: 1 }], {
      labels: [{ node: "in(node_b,node_c)" }, { node: "!node_a" }, { node: "node_a" }],
    });
    expect((await driver.ready(pgId)).bundles.map(({ nodeId }) => nodeId)).toEqual(["node_b", "node_b", "node_a"]);
    const never = await driver.group([{ CPU: 1 }, { CPU: 1 }], { labels: [{}, { node: "node_d" }] });
    await cluster.run(500);
    expect((await driver.table(never)).reasons).toMatchObject([
      { bundle: 1, kind: "infeasible", text: expect.stringContaining("no usable node has the labels node=node_d") },
    ]);
    await cluster.node("d", { CPU: 1 });
    expect((await driver.ready(never)).bundles[1]!.nodeId).toBe("node_d");
  });
});
