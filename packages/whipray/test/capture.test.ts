import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type ActorHandle,
  type ActorOptions,
  type Cluster,
  currentPlacementGroup,
  init,
  type PlacementGroup,
} from "../src/index.ts";
import type { Parent } from "./parent-actor.ts";

const PARENT = new URL("./parent-actor.ts", import.meta.url);

describe("children of an actor in a placement group", () => {
  let cluster: Cluster;
  let group: PlacementGroup;
  let other: PlacementGroup;
  beforeAll(async () => {
    cluster = await init({ numCpus: 8, numGpus: 2 });
    [group, other] = await Promise.all([
      cluster.placementGroup([{ CPU: 1 }, { CPU: 2, GPU: 1 }]),
      cluster.placementGroup([{ CPU: 1 }]),
    ]);
    await Promise.all([group.ready({ timeoutMs: 10_000 }), other.ready({ timeoutMs: 10_000 })]);
  });
  afterAll(() => cluster.close());

  async function parent(options: ActorOptions): Promise<ActorHandle<Parent>> {
    return cluster
      .actor<Parent>(PARENT, "Parent")
      .options({ numCpus: 1, ...options })
      .create();
  }

  test("Ray 8.33: with captureChildTasks they are in its group, in any bundle that fits", async () => {
    const actor = await parent({ placement: group.bundle(0), captureChildTasks: true });
    const seat = await actor.child({ numCpus: 2, numGpus: 1 });
    expect(seat).toMatchObject({ groupId: group.id, bundle: 1, bundles: 2 });
    const { bundles } = await group.table();
    expect(bundles[1]!.devices.map(({ index }) => String(index))).toEqual([seat.env]);
    await cluster.kill(actor);
  });

  test("Ray 8.33: captured children capture theirs, unless they are told not to", async () => {
    const actor = await parent({ placement: group.bundle(0), captureChildTasks: true });
    expect(await actor.grandchild({ numCpus: 1 })).toMatchObject({ groupId: group.id });
    expect((await actor.grandchild({ numCpus: 1, captureChildTasks: false })).groupId).toBeNull();
    await cluster.kill(actor);
  });

  test("Ray 8.33: without it, or with another placement, null or DEFAULT, they are not", async () => {
    const off = await parent({ placement: group.bundle(0) });
    expect((await off.child({ numCpus: 1 })).groupId).toBeNull();
    await cluster.kill(off);
    const on = await parent({ placement: group.bundle(0), captureChildTasks: true });
    expect(await on.child({ numCpus: 1, placement: other.bundle(0) })).toMatchObject({
      groupId: other.id,
      bundle: 0,
    });
    for (const placement of [null, "DEFAULT"] as const)
      expect((await on.child({ numCpus: 1, placement })).groupId).toBeNull();
    const { nodeId } = (await cluster.nodes())[0]!;
    expect((await on.child({ numCpus: 1, nodeAffinity: { nodeId } })).groupId).toBeNull();
    await cluster.kill(on);
  });

  test("Ray 8.33: its tasks run in its group too, with capture; without they wait for room outside", async () => {
    const [on, off] = await Promise.all([
      parent({ placement: group.bundle(0), captureChildTasks: true }),
      parent({ placement: other.bundle(0) }),
    ]);
    const rest = (await cluster.availableResources())["CPU"]!;
    const all = await parent({ numCpus: rest });
    await cluster.ready(all);
    expect(await on.task({ numCpus: 2 })).toBe(9);
    await expect(off.task({ numCpus: 2, timeoutMs: 500 })).rejects.toThrow(/CPU/);
    await Promise.all([on, off, all].map((actor) => cluster.kill(actor)));
  });

  test("currentPlacementGroup is the actor's own, with capture or without; none in a driver and outside of groups", async () => {
    const inside = await parent({ placement: group.bundle(0) });
    expect(await inside.group()).toEqual({ id: group.id, bundles: 2 });
    await cluster.kill(inside);
    const outside = await parent({});
    expect(await outside.group()).toBeNull();
    await cluster.kill(outside);
    expect(await currentPlacementGroup()).toBeUndefined();
  });

  test("a placement that is none is refused", async () => {
    await expect(parent({ placement: group as never })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(parent({ placement: "SPREAD" as never })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
