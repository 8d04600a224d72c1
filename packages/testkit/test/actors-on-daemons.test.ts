import { expect, test } from "vitest";
import type { ActorOptions, Cluster } from "whipray";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { endAfterEach } from "./end-after-each.ts";
import type { Counting } from "./fixtures/counting-actor.ts";
import { until } from "./outside.ts";
import { PATIENCE_MS } from "./stage.ts";

const MODULE = new URL("./fixtures/counting-actor.ts", import.meta.url);
const TEST_MS = 120_000;
let real: RealCluster | undefined;

endAfterEach(() => real, TEST_MS);

const counting = (cluster: Cluster, options: ActorOptions) =>
  cluster.actor<Counting>(MODULE, "Counting").options(options).create();
const upTo = (n: number): number[] => Array.from({ length: n }, (_, at) => at + 1);

test(
  "Ray 8.42: the node of an actor dies in the middle of its calls, another joins: with retries none fails, 1..k, then 1..100−k",
  async () => {
    real = await startCluster({ raylets: [{ resources: { CPU: 1 } }, { resources: { CPU: 4 } }] });
    const cluster = await real.connect({ namespace: "actors" });
    const actor = await counting(cluster, { numCpus: 2, maxRestarts: 1, maxTaskRetries: -1 });
    const calls = Array.from({ length: 50 }, () => actor.count());
    await calls[10];
    await real.raylets[1]!.kill("SIGKILL");
    calls.push(...Array.from({ length: 50 }, () => actor.count()));
    await real.raylets[1]!.restart();
    const counts = await Promise.all(calls);
    const again = counts.lastIndexOf(1);
    expect(again).toBeGreaterThan(10);
    expect(counts).toEqual([...upTo(again), ...upTo(100 - again)]);
    expect(await cluster.actorRow(actor)).toMatchObject({ state: "ALIVE", restarts: 1 });
  },
  TEST_MS,
);

test(
  "Ray 8.35: a node of a group dies, the head restarts, a node joins: the lost bundle is placed again and its actor answers; the other never stopped",
  async () => {
    real = await startCluster({ raylets: [{ resources: { CPU: 2 } }, { resources: { CPU: 2 } }] });
    const cluster = await real.connect({ namespace: "actors" });
    const group = await cluster.placementGroup([{ CPU: 1 }, { CPU: 1 }], { strategy: "STRICT_SPREAD" });
    await group.ready({ timeoutMs: PATIENCE_MS });
    const inside = (index: number) =>
      counting(cluster, { placement: group.bundle(index), numCpus: 1, maxRestarts: -1, maxTaskRetries: -1 });
    const [one, two] = await Promise.all([inside(0), inside(1)]);
    const [first, second] = await Promise.all([one.pid(), two.pid()]);
    const { bundles } = await group.table();
    const lost = real.raylets.find(({ nodeId }) => nodeId === bundles[1]!.nodeId)!;
    await lost.kill("SIGKILL");
    await until("the group is rescheduled", PATIENCE_MS, async () => (await group.table()).state === "RESCHEDULING");
    expect(await group.explain()).toMatchObject([{ bundle: 1 }]);
    await real.head.kill("SIGKILL");
    await real.head.restart();
    await lost.restart();
    await group.ready({ timeoutMs: PATIENCE_MS });
    expect(await two.pid()).not.toBe(second);
    expect(await one.pid()).toBe(first);
    expect((await group.table()).bundles[0]!.nodeId).toBe(bundles[0]!.nodeId);
  },
  TEST_MS,
);
