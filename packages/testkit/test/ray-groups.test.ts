import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Cluster, GetTimeoutError, type PlacementGroup, type PlacementGroupOptions } from "whipray";
import { describeLeaks } from "../src/leak-check.ts";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import type { Counting } from "./fixtures/counting-actor.ts";
import type { nodeOf, nodeUntil } from "./fixtures/long-task.ts";
import { until } from "./outside.ts";
import { PATIENCE_MS } from "./stage.ts";

// Ray's behaviours of placement groups where real raylets prepare, commit and give back: three nodes, and one that comes and goes.
const ACTORS = new URL("./fixtures/counting-actor.ts", import.meta.url);
const TASKS = new URL("./fixtures/long-task.ts", import.meta.url);
const TEST_MS = 90_000;
const NODES = 3;
const CPUS_EACH = 4;
const SECOND_MS = 1_000;
let real: RealCluster;
let cluster: Cluster;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wg-"));
  const plain = { resources: { CPU: CPUS_EACH, memory: 1_000_000_000 } };
  real = await startCluster({ raylets: [...Array(NODES).fill(plain), { resources: { CPU: 0, GPU: 1 } }] });
  await real.raylets[NODES]!.stop();
  cluster = await real.connect({ namespace: "groups" });
}, TEST_MS);

afterEach(async ({ task }) => {
  if (task.result?.state === "fail") console.error(real.logs());
  else
    await until(
      "all is free",
      PATIENCE_MS,
      async () => (await cluster.availableResources())["CPU"] === NODES * CPUS_EACH,
    );
});

afterAll(async () => {
  const left = await real.stop();
  rmSync(folder, { recursive: true, force: true });
  expect(describeLeaks(left)).toBe("");
}, TEST_MS);

async function placed(bundles: Record<string, number>[], options: PlacementGroupOptions = {}): Promise<PlacementGroup> {
  return (await cluster.placementGroup(bundles, options)).ready({ timeoutMs: PATIENCE_MS });
}
/** On which nodes tasks in its bundles run. */
function nodesOf(group: PlacementGroup): Promise<string[]> {
  const where = cluster.task<typeof nodeOf>(TASKS, "nodeOf");
  return Promise.all(group.bundleSpecs.map((_, at) => where.options({ placement: group.bundle(at) })()));
}

test(
  "Ray 8.1, 8.2: PACK puts two actors on one node, a zero is harmless; ready() with all of it taken answers at once; `bundle` is reserved",
  async () => {
    const group = await placed([{ CPU: 2, GPU: 0 }, { CPU: 2 }]);
    const inside = (at: number) =>
      cluster
        .actor<Counting>(ACTORS, "Counting")
        .options({ placement: group.bundle(at), numCpus: 2 })
        .create();
    const actors = await Promise.all([inside(0), inside(1)]);
    await Promise.all(actors.map((actor) => actor.count()));
    const rows = await Promise.all(actors.map((actor) => cluster.actorRow(actor)));
    expect(new Set(rows.map(({ nodeId }) => nodeId)).size).toBe(1);
    expect(await group.ready({ timeoutMs: PATIENCE_MS })).toBe(group);
    await expect(cluster.placementGroup([{ bundle: 1 }])).rejects.toMatchObject({ code: "INVALID_RESOURCES" });
    await group.remove();
  },
  TEST_MS,
);

test(
  "Ray 8.3, 8.4, 8.5: STRICT_PACK with memory takes one node, SPREAD two, STRICT_SPREAD three",
  async () => {
    const memory = 100_000_000;
    const cases: [PlacementGroupOptions["strategy"], Record<string, number>[], number][] = [
      ["STRICT_PACK", [{ CPU: 1, memory }, { CPU: 2 }], 1],
      ["SPREAD", [{ CPU: 2 }, { CPU: 2 }], 2],
      ["STRICT_SPREAD", [{ CPU: 2 }, { CPU: 2 }, { CPU: 2 }], 3],
    ];
    for (const [strategy = "PACK", bundles, nodes] of cases) {
      const group = await placed(bundles, { strategy });
      expect(new Set(await nodesOf(group)).size, strategy).toBe(nodes);
      await group.remove();
    }
  },
  TEST_MS,
);

test(
  "Ray 8.14, 8.16, 8.27, 8.28: an infeasible group is PENDING, its wait ends in time without an error event, and it is CREATED when a node joins",
  async () => {
    const group = await cluster.placementGroup([{ GPU: 1 }]);
    expect(await group.wait(SECOND_MS)).toBe(false);
    await expect(group.ready({ timeoutMs: 100 })).rejects.toBeInstanceOf(GetTimeoutError);
    expect(await group.table()).toMatchObject({ state: "PENDING", reasons: [{ kind: "infeasible" }] });
    for await (const { severity, message } of cluster.events({ id: group.id, follow: false }))
      expect(severity, message).not.toBe("ERROR");
    const joining = real.raylets[NODES]!;
    await joining.restart();
    await group.ready({ timeoutMs: PATIENCE_MS });
    expect((await group.table()).bundles[0]!.nodeId).toBe(joining.nodeId);
    await group.remove();
    await joining.stop();
  },
  TEST_MS,
);

test(
  "Ray 8.17: a group is wholly unplaced while tasks hold what it needs; then its own tasks run and others wait; after its removal these run",
  async () => {
    const go = join(folder, "atomic");
    const hold = cluster
      .task<typeof nodeUntil>(TASKS, "nodeUntil")
      .options({ numCpus: CPUS_EACH - 1, strategy: "SPREAD" });
    const marks = Array.from({ length: NODES }, (_, at) => join(folder, `atomic-${at}`));
    const holding = marks.map((mark) => hold(mark, go));
    await until("the tasks run", PATIENCE_MS, () => marks.every((mark) => existsSync(mark)));
    const bundles = Array.from({ length: NODES }, () => ({ CPU: CPUS_EACH }));
    const group = await cluster.placementGroup(bundles);
    expect(await group.wait(SECOND_MS / 2)).toBe(false);
    const { bundles: rows, reasons } = await group.table();
    expect(rows.map(({ nodeId }) => nodeId)).toEqual(bundles.map(() => undefined));
    expect(new Set(reasons.map(({ kind }) => kind))).toEqual(new Set(["busy"]));
    writeFileSync(go, "");
    expect(new Set(await Promise.all(holding)).size).toBe(NODES);
    await group.ready({ timeoutMs: PATIENCE_MS });
    const outside = cluster.task<typeof nodeOf>(TASKS, "nodeOf").remote();
    expect(new Set(await nodesOf(group)).size).toBe(NODES);
    expect(await cluster.wait([outside], { timeoutMs: SECOND_MS / 2 })).toEqual([[], [outside]]);
    await group.remove();
    expect(await cluster.get(outside)).toMatch(/^node_/);
  },
  TEST_MS,
);

test(
  "Ray 8.20, 8.22, 8.23: of six groups three have room; as they go the others come; one that waits can be removed, and its waiter hears so",
  async () => {
    const groups = await Promise.all(Array.from({ length: 6 }, () => cluster.placementGroup([{ CPU: CPUS_EACH }])));
    const last = groups.pop()!;
    const waiting = new Set(groups);
    await until("three are ready", PATIENCE_MS, async () => {
      const rows = await cluster.listPlacementGroups({ filters: { state: "CREATED" } });
      return rows.length === NODES;
    });
    const heard = last.ready().catch((error: unknown) => error);
    await last.remove();
    const gone = { code: "PLACEMENT_GROUP_REMOVED" };
    if ((await heard) !== last) expect(await heard).toMatchObject(gone);
    await expect(last.wait(SECOND_MS)).rejects.toMatchObject(gone);
    while (waiting.size > 0) {
      const ready = await Promise.any([...waiting].map((group) => group.ready({ timeoutMs: PATIENCE_MS })));
      await ready.remove();
      waiting.delete(ready);
    }
  },
  TEST_MS,
);

test(
  "Ray 8.25: twenty concurrent create, use, remove cycles of any strategy end, and leave nothing",
  async () => {
    const strategies = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] as const;
    const where = cluster.task<typeof nodeOf>(TASKS, "nodeOf");
    const cycle = async (at: number): Promise<number> => {
      const group = await placed([{ CPU: 1 }, { CPU: 1 }], { strategy: strategies[at % strategies.length]! });
      const { bundles } = await group.table();
      expect(await where.options({ placement: group.bundle(at % 2) })()).toBe(bundles[at % 2]!.nodeId);
      await group.remove();
      return new Set(bundles.map(({ nodeId }) => nodeId)).size;
    };
    const sizes = await Promise.all(Array.from({ length: 20 }, (_, at) => cycle(at)));
    sizes.forEach((size, at) => {
      if (at % 4 >= 2) expect(size, strategies[at % 4]).toBe(at % 4 === 2 ? 1 : 2);
    });
  },
  TEST_MS,
);

test(
  "Ray 8.32: another driver of the namespace finds a group by its name; the name is unique there, and free after removal",
  async () => {
    const [friend, stranger] = [await real.connect({ namespace: "groups" }), await real.connect({ namespace: "else" })];
    const group = await placed([{ CPU: 1 }], { name: "pair" });
    expect((await friend.getPlacementGroup("pair")).id).toBe(group.id);
    const clash = { code: "NAME_TAKEN", details: { holder: group.id } };
    await expect(friend.placementGroup([{ CPU: 1 }], { name: "pair" })).rejects.toMatchObject(clash);
    await expect(stranger.getPlacementGroup("pair")).rejects.toMatchObject({ code: "NOT_FOUND" });
    await (await stranger.placementGroup([{ CPU: 1 }], { name: "pair" })).ready({ timeoutMs: PATIENCE_MS });
    await group.remove();
    const next = await friend.placementGroup([{ CPU: 1 }], { name: "pair" });
    expect((await cluster.getPlacementGroup("pair")).id).toBe(next.id);
    await Promise.all([friend.close(), stranger.close()]);
    await expect(cluster.getPlacementGroup("nobody")).rejects.toMatchObject({ code: "NOT_FOUND" });
  },
  TEST_MS,
);

test(
  "Ray 8.83: a group whose node does not answer its prepare is not ready, and ready once it does",
  async () => {
    const slow = real.raylets[0]!;
    await placed([{ CPU: CPUS_EACH }, { CPU: CPUS_EACH }, { CPU: CPUS_EACH }]).then((all) => all.remove());
    process.kill(slow.pid, "SIGSTOP");
    const group = await cluster.placementGroup(Array(NODES).fill({ CPU: CPUS_EACH }));
    try {
      expect(await group.wait(SECOND_MS)).toBe(false);
    } finally {
      process.kill(slow.pid, "SIGCONT");
    }
    await group.ready({ timeoutMs: PATIENCE_MS });
    await group.remove();
  },
  TEST_MS,
);
