import { expect, test } from "vitest";
import type { Cluster } from "whipray";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { endAfterEach } from "./end-after-each.ts";
import type { GroupMaker, makeGroup } from "./fixtures/group-maker.ts";
import { until } from "./outside.ts";

const MODULE = new URL("./fixtures/group-maker.ts", import.meta.url);
const TEST_MS = 120_000;
const WAIT_MS = 30_000;
let real: RealCluster | undefined;

endAfterEach(() => real, TEST_MS);

const maker = (cluster: Cluster, options = {}) =>
  cluster
    .actor<GroupMaker>(MODULE, "GroupMaker")
    .options({ numCpus: 0, ...options })
    .create();
const stateOf = async (cluster: Cluster, pgId: string): Promise<string> =>
  (await cluster.placementGroupTable()).find((group) => group.pgId === pgId)?.state ?? "gone";

test(
  "Ray 8.29, 8.31, 8.51: a job's groups and actors end with it, whoever of it made them; detached ones live, found by the next driver",
  async () => {
    real = await startCluster({ raylets: [{ name: "n0", resources: { CPU: 8 } }] });
    const first = await real.connect({ namespace: "team" });
    const plain = await (await first.placementGroup([{ CPU: 1 }])).ready();
    const actor = await maker(first);
    const byActor = await actor.makeGroup();
    const byTask = await first.task<typeof makeGroup>(MODULE, "makeGroup")();
    const store = await maker(first, { name: "store", lifetime: "detached" });
    const lasting = await actor.makeGroup("detached");
    await actor.makeLasting();
    const pid = await store.pid();
    await first.close();

    const second = await real.connect({ namespace: "team" });
    for (const pgId of [plain.id, byActor, byTask])
      await until(`${pgId} is freed`, WAIT_MS, async () => ["REMOVED", "gone"].includes(await stateOf(second, pgId)));
    expect(await stateOf(second, lasting)).toBe("CREATED");
    expect(await (await second.getActor<GroupMaker>("store")).pid()).toBe(pid);
    const inside = await second.getActor<GroupMaker>("inside");
    expect(await second.actorRow(inside)).toMatchObject({ state: "ALIVE", pgId: lasting, detached: true });
    await expect(maker(second, { name: "store" })).rejects.toMatchObject({ name: "ActorAlreadyExistsError" });
    const other = await real.connect({ namespace: "elsewhere" });
    await expect(other.getActor("store")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
    await until("7 of 8 CPUs are free", WAIT_MS, async () => (await second.availableResources())["CPU"] === 7);
    await second.kill(await second.getActor("store"));
    await (await second.getPlacementGroup("lasting")).remove();
    await until("all is free", WAIT_MS, async () => (await second.availableResources())["CPU"] === 8);
  },
  TEST_MS,
);

test(
  "Ray 8.30: the group of a detached actor lives until it is killed to restart; then it makes a new one",
  async () => {
    real = await startCluster({ raylets: [{ name: "n0", resources: { CPU: 4 } }] });
    const cluster = await real.connect({ namespace: "team" });
    const actor = await maker(cluster, { name: "keeper", lifetime: "detached", maxRestarts: 1, maxTaskRetries: -1 });
    const pgId = await actor.makeGroup();
    const pid = await actor.pid();
    expect(await stateOf(cluster, pgId)).toBe("CREATED");
    await cluster.kill(actor, { noRestart: false });
    expect(await actor.pid()).not.toBe(pid);
    await until("its group is gone", WAIT_MS, async () => ["REMOVED", "gone"].includes(await stateOf(cluster, pgId)));
    const next = await actor.makeGroup();
    expect(await stateOf(cluster, next)).toBe("CREATED");
    await cluster.kill(actor);
    await until("all is free", WAIT_MS, async () => (await cluster.availableResources())["CPU"] === 4);
  },
  TEST_MS,
);
