import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  ActorDiedError,
  type Cluster,
  init,
  type PlacementGroup,
  type PlacementGroupOptions,
  WhiprayError,
} from "../src/index.ts";
import type { Busy } from "./busy-actor.ts";
import { until } from "./outside.ts";
import type { sleep, square } from "./sample-tasks.ts";

const ACTORS = new URL("./busy-actor.ts", import.meta.url);
const TASKS = new URL("./sample-tasks.ts", import.meta.url);
let cluster: Cluster;
beforeAll(async () => {
  cluster = await init({ numCpus: 4, numGpus: 8, fakeDevices: "8xH100", labels: { zone: "a" } });
}, 60_000);
afterAll(() => cluster.close());

async function placed(bundles: Record<string, number>[], options: PlacementGroupOptions = {}): Promise<PlacementGroup> {
  return (await cluster.placementGroup(bundles, options)).ready({ timeoutMs: 30_000 });
}
const free = (): Promise<void> =>
  until("all is free", async () => {
    const { CPU, GPU } = await cluster.availableResources();
    return CPU === 4 && GPU === 8;
  });

describe("what a reservation tells", () => {
  test("Ray 8.15: ready gives the group itself, with the bundles that were asked for; its row is CREATED", async () => {
    const bundles = [{ CPU: 1, GPU: 0 }, { CPU: 2 }];
    const asked = await cluster.placementGroup(bundles, { name: "told" });
    const group = await asked.ready();
    expect(group).toBe(asked);
    expect(group.bundleSpecs).toEqual(bundles);
    const row = await group.table();
    expect(row).toMatchObject({ pgId: group.id, name: "told", state: "CREATED", strategy: "PACK", reasons: [] });
    expect((await cluster.getPlacementGroup("told")).id).toBe(group.id);
    expect((await cluster.placementGroupTable()).some(({ pgId }) => pgId === group.id)).toBe(true);
    await group.remove();
    await free();
  });

  test("bundle → node, device uuids and indexes, NUMA nodes, links", async () => {
    const group = await placed([{ GPU: 2 }, { CPU: 1 }], { links: ["STRICT", "ANY"] });
    const { bundles } = await group.table();
    const { nodeId, devices } = (await cluster.nodes())[0]!;
    expect(bundles.map((bundle) => bundle.nodeId)).toEqual([nodeId, nodeId]);
    const [gpus] = bundles;
    expect(gpus!.devices.map(({ uuid, index }) => [uuid, index])).toEqual(
      [0, 1].map((index) => [devices.find((one) => one.index === index)!.uuid, index]),
    );
    expect(gpus).toMatchObject({ numaNodes: [0], links: expect.stringContaining("NV"), choice: expect.any(String) });
    await group.remove();
    await free();
  });

  test("Ray 8.7, 8.13: an actor's row names its group and bundle; resources have their plain names, also while it waits", async () => {
    const group = await placed([{ CPU: 1 }, { CPU: 1 }]);
    const actor = await cluster
      .actor<Busy>(ACTORS, "Busy")
      .options({ placement: group.bundle(1), numCpus: 1 })
      .create();
    await cluster.ready(actor);
    const next = await cluster
      .actor<Busy>(ACTORS, "Busy")
      .options({ placement: group.bundle(1), numCpus: 1 })
      .create();
    expect(await cluster.actorRow(actor)).toMatchObject({ pgId: group.id, bundleIndex: 1, units: { CPU: 10_000 } });
    await until("the next says why", async () => ((await cluster.actorRow(next)).waiting ?? "").includes("in use"));
    const names = [cluster.clusterResources(), cluster.availableResources()].map(async (all) => Object.keys(await all));
    for (const shown of await Promise.all(names)) expect(shown.filter((name) => name.includes("group"))).toEqual([]);
    await group.remove();
    await free();
  });
});

describe("why a group waits", () => {
  const kinds = async (group: PlacementGroup): Promise<string[]> => (await group.explain()).map(({ kind }) => kind);

  test("explain tells infeasible, busy and against the strategy apart, for every strategy (promise 5)", async () => {
    const taken = await placed([{ CPU: 3 }]);
    const cases: [PlacementGroupOptions["strategy"], Record<string, number>[], string, RegExp][] = [
      ["PACK", [{ CPU: 1 }, { CPU: 5 }], "infeasible", /needs 5 CPU.*1 CPU short/],
      ["PACK", [{ CPU: 2 }], "busy", /needs 2 CPU.*1 CPU short \(1 CPU there\)/],
      ["SPREAD", [{ CPU: 5 }], "infeasible", /needs 5 CPU/],
      ["SPREAD", [{ CPU: 1 }, { CPU: 1 }], "busy", /needs 1 CPU/],
      ["STRICT_PACK", [{ CPU: 3 }, { CPU: 3 }], "strategy", /STRICT_PACK wants one node/],
      ["STRICT_PACK", [{ CPU: 2 }, { CPU: 2 }], "busy", /STRICT_PACK wants one node/],
      ["STRICT_SPREAD", [{ CPU: 1 }, { CPU: 1 }], "strategy", /STRICT_SPREAD wants a node for each of 2/],
      ["STRICT_SPREAD", [{ CPU: 2 }], "busy", /needs 2 CPU/],
    ];
    for (const [strategy = "PACK", bundles, kind, text] of cases) {
      const group = await cluster.placementGroup(bundles, { strategy });
      const reasons = await group.explain();
      expect(new Set(reasons.map((one) => one.kind)), `${strategy} ${JSON.stringify(bundles)}`).toEqual(
        new Set([kind]),
      );
      expect(reasons[0]!.text).toMatch(text);
      await group.remove();
    }
    await taken.remove();
    const group = await placed([{ CPU: 3 }]);
    expect(await kinds(group)).toEqual([]);
    await group.remove();
    await free();
  });

  test("a deadline ends it with what was missing; failFast refuses what can never be, and leaves what is only busy (B21)", async () => {
    const taken = await placed([{ CPU: 4 }]);
    const late = await cluster.placementGroup([{ CPU: 1 }], { timeoutMs: 50 });
    await expect(late.ready()).rejects.toMatchObject({ code: "PLACEMENT_TIMEOUT", message: /1 CPU short/ });
    await expect(cluster.placementGroup([{ CPU: 5 }], { failFast: true, name: "never" })).rejects.toMatchObject({
      code: "INFEASIBLE",
      message: /bundle 0: needs 5 CPU/,
    });
    const waits = await cluster.placementGroup([{ CPU: 1 }], { failFast: true, name: "never" });
    expect(await waits.wait(50)).toBe(false);
    await taken.remove();
    await waits.ready({ timeoutMs: 30_000 });
    await waits.remove();
    await free();
  });

  test("label selectors, one per bundle: what no node has is infeasible by its labels", async () => {
    const group = await placed([{ CPU: 1 }, { CPU: 1 }], { labels: [{ zone: "in(a,b)" }, { rack: "!r1" }] });
    await group.remove();
    const never = await cluster.placementGroup([{ CPU: 1 }], { labels: [{ zone: "b" }] });
    expect(await never.explain()).toMatchObject([{ kind: "infeasible", text: expect.stringContaining("zone=b") }]);
    await never.remove();
  });
});

describe("what runs inside", () => {
  test("Ray 8.10, B22: a bundle index that is none is refused; a removed group too, and nothing leaks", async () => {
    const group = await placed([{ CPU: 1 }, { CPU: 1 }]);
    for (const index of [2, 3, -2, 0.5, Number.NaN])
      expect(() => group.bundle(index)).toThrow(`placement group bundle index ${index} is invalid`);
    const forged = { groupId: group.id, bundleIndex: 7 };
    const make = (placement: { groupId: string; bundleIndex: number }) =>
      cluster.actor<Busy>(ACTORS, "Busy").options({ placement, numCpus: 1 }).create();
    await expect(make(forged)).rejects.toThrow("bundle index 7 is invalid");
    await group.remove();
    await expect(make(group.bundle(0))).rejects.toMatchObject({ code: "PLACEMENT_GROUP_REMOVED" });
    await group.remove();
    await free();
  });

  test("Ray 8.19: removal ends an actor and a task inside, and frees everything; wildcard bundles find room", async () => {
    const group = await placed([{ CPU: 1 }, { CPU: 2 }]);
    const actor = await cluster.actor<Busy>(ACTORS, "Busy").options({ placement: group.bundle(), numCpus: 2 }).create();
    const running = actor.hold().catch((error: unknown) => error);
    await actor.count();
    expect((await cluster.actorRow(actor)).bundleIndex).toBe(1);
    const inside = { placement: group.bundle(0), maxRetries: 0 };
    expect(await cluster.task<typeof square>(TASKS, "square").options(inside)(3)).toBe(9);
    const task = cluster
      .task<typeof sleep>(TASKS, "sleep")
      .options(inside)(60_000)
      .catch((error: unknown) => error);
    await until("the task runs", async () => (await cluster.availableResources())["CPU"] === 1);
    await group.remove();
    expect(await running).toBeInstanceOf(ActorDiedError);
    expect(await task).toBeInstanceOf(WhiprayError);
    await free();
  });
});

test("bad options of groups are refused by name, and reserve nothing (B19, B24)", async () => {
  for (const [bundles, options, code] of [
    [[{ CPU: 1 }], { strategy: "STRICT" }, "INVALID_ARGUMENT"],
    [[{ CPU: 1 }], { topology: 1 }, "INVALID_ARGUMENT"],
    [[{ CPU: 1 }], { labels: [] }, "INVALID_ARGUMENT"],
    [[{ CPU: 1 }], { labels: [{ "a b": "x" }] }, "INVALID_ARGUMENT"],
    [[{ CPU: 1 }], { labels: [{ zone: "in(a" }] }, "INVALID_ARGUMENT"],
    [[{ CPU: 1 }], { labels: [{ zone: 5 }] }, "INVALID_ARGUMENT"],
    [[{ CPU: 1 }], { links: ["STRICT", "ANY"] }, "INVALID_ARGUMENT"],
    [[{ CPU: 1 }], { timeoutMs: -1 }, "INVALID_ARGUMENT"],
    [[{ CPU: 1 }], { isolation: "process" }, "INVALID_ARGUMENT"],
    [[{ CPU: 1 }], { name: "../x" }, "INVALID_NAME"],
    [[{ bundle: 1 }], {}, "INVALID_RESOURCES"],
    ["CPU", {}, "INVALID_RESOURCES"],
  ] as const) {
    const asked = cluster.placementGroup(bundles as never, options as PlacementGroupOptions);
    await expect(asked, JSON.stringify([bundles, options])).rejects.toMatchObject({ code });
  }
  await free();
});
