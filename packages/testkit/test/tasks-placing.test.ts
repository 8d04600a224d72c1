import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cluster, TaskUnschedulableError } from "whipray";
import { describeLeaks } from "../src/leak-check.ts";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import type { makeGroup, nodeOf, nodeUntil } from "./fixtures/long-task.ts";
import { until } from "./outside.ts";
import { PATIENCE_MS } from "./stage.ts";

const TASKS = new URL("./fixtures/long-task.ts", import.meta.url);
const TEST_MS = 90_000;
let real: RealCluster;
let cluster: Cluster;
let folder: string;
let nodeIds: string[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wp-"));
  real = await startCluster({
    raylets: [
      { resources: { CPU: 2 }, labels: { zone: "near" } },
      { resources: { CPU: 2 }, labels: { zone: "far" } },
      { resources: { CPU: 2 }, labels: { zone: "far", disk: "fast" } },
    ],
  });
  cluster = await real.connect({ namespace: "placing" });
  nodeIds = real.raylets.map(({ nodeId }) => nodeId);
}, TEST_MS);

afterAll(async () => {
  const left = await real.stop();
  rmSync(folder, { recursive: true, force: true });
  expect(describeLeaks(left)).toBe("");
}, TEST_MS);

/** So many tasks that end when all of them run: on which nodes. */
async function allAtOnce(count: number, name: string): Promise<string[]> {
  const go = join(folder, name);
  const marks = Array.from({ length: count }, (_, index) => join(folder, `${name}-${index}`));
  const task = cluster.task<typeof nodeUntil>(TASKS, "nodeUntil");
  const all = Promise.all(marks.map((mark) => task(mark, go)));
  await until("all of them run", PATIENCE_MS, () => marks.every((mark) => existsSync(mark)));
  writeFileSync(go, "");
  return all;
}

test(
  "tasks pass from a full node to others, until the cluster is full",
  async () => {
    expect((await allAtOnce(6, "full")).sort()).toEqual([...nodeIds, ...nodeIds].sort());
  },
  TEST_MS,
);

test(
  "SPREAD goes over all nodes in turn",
  async () => {
    const spread = cluster.task<typeof nodeOf>(TASKS, "nodeOf").options({ strategy: "SPREAD" });
    await until(
      "every lease was given back",
      PATIENCE_MS,
      async () => (await cluster.availableResources())["CPU"] === 6,
    );
    const seen = new Set<string>();
    for (let round = 0; round < 9; round++) seen.add(await spread());
    expect([...seen].sort()).toEqual([...nodeIds].sort());
  },
  TEST_MS,
);

test(
  "labels, with fallback; NodeAffinity, hard and soft",
  async () => {
    const where = cluster.task<typeof nodeOf>(TASKS, "nodeOf");
    expect(await where.options({ labels: { zone: "far", disk: "!fast" } })()).toBe(nodeIds[1]);
    const fallback = [{ labels: { disk: "in(slow,fast)" } }];
    expect(await where.options({ labels: { zone: "nowhere" }, fallback })()).toBe(nodeIds[2]);
    expect(await where.options({ nodeAffinity: { nodeId: nodeIds[1]! } })()).toBe(nodeIds[1]);
    const gone = where.options({ nodeAffinity: { nodeId: "node_gone" } });
    await expect(gone()).rejects.toBeInstanceOf(TaskUnschedulableError);
    await expect(gone()).rejects.toThrow(/node node_gone, which it must run on, is not alive/);
    expect(nodeIds).toContain(await where.options({ nodeAffinity: { nodeId: "node_gone", soft: true } })());
    const late = where.options({ labels: { zone: "nowhere" }, timeoutMs: 2_000 });
    await expect(late()).rejects.toThrow(/infeasible: no node has the labels zone=nowhere/);
  },
  TEST_MS,
);

test(
  "Ray 8.29: a group that a task made is gone with its job",
  async () => {
    const second = await real.connect({ namespace: "second" });
    await second.task<typeof makeGroup>(TASKS, "makeGroup")("made-by-a-task");
    const groups = () => cluster.listPlacementGroups({ filters: { name: "made-by-a-task" } });
    expect(await groups()).toMatchObject([{ state: "CREATED" }]);
    await second.close();
    await until("it is gone", PATIENCE_MS, async () => (await groups()).every(({ state }) => state === "REMOVED"));
    await until("all CPUs are free", PATIENCE_MS, async () => (await cluster.availableResources())["CPU"] === 6);
  },
  TEST_MS,
);

test(
  "while the head is down tasks pass on by its last word",
  async () => {
    await allAtOnce(6, "before"); // the way to every node is known
    await real.head.kill("SIGKILL");
    expect(new Set(await allAtOnce(3, "down")).size).toBeGreaterThan(1);
    await real.head.restart();
  },
  TEST_MS,
);
