import { delay, systemClock } from "@whipray/core";
import { expect, test } from "vitest";
import type { ActorOptions, Cluster } from "whipray";
import { type RayletSpec, type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { endAfterEach } from "./end-after-each.ts";
import type { GpuActor, useGpu } from "./fixtures/gpu-actor.ts";

const GPU_ACTOR = new URL("./fixtures/gpu-actor.ts", import.meta.url);
const TEST_MS = 120_000;
const WAITS_MS = 500;
let real: RealCluster | undefined;

endAfterEach(() => real, TEST_MS);

async function started(...raylets: RayletSpec[]): Promise<Cluster> {
  real = await startCluster({ raylets });
  return real.connect({ namespace: "gpus" });
}

function create(cluster: Cluster, options: ActorOptions) {
  return cluster
    .actor<GpuActor>(GPU_ACTOR, "GpuActor")
    .options({ numCpus: 0, ...options })
    .create();
}

type Handle = Awaited<ReturnType<typeof create>>;

/** Where an actor runs, and the devices that its process sees: `n0 2`. */
async function placesOf(cluster: Cluster, actors: readonly Handle[]): Promise<string[]> {
  const seen = await Promise.all(actors.map((actor) => actor.devices()));
  const rows = await Promise.all(actors.map((actor) => cluster.actorRow(actor)));
  const names = new Map((await cluster.nodes()).map(({ nodeId, name }) => [nodeId, name]));
  return actors.map((_, at) => {
    const { nodeId, devices } = rows[at]!;
    // What the process sees is what the head says that it has.
    expect(seen[at]).toEqual(devices.map((device) => device.index));
    return `${names.get(nodeId!)} ${seen[at]!.join(",")}`;
  });
}

/** Why an actor is not placed; it must still be so after a while. */
async function waits(cluster: Cluster, actor: Handle): Promise<string> {
  await delay(systemClock, WAITS_MS);
  const { state, waiting } = await cluster.actorRow(actor);
  expect(state).toBe("PENDING_CREATION");
  return waiting ?? "";
}

/** One use of a device, by an actor or a task. */
interface Use {
  readonly place: string;
  readonly share: number;
  readonly fromMs: number;
  readonly toMs: number;
}

function expectNoneShared(uses: readonly Use[]): void {
  for (const { place, fromMs } of uses) {
    const together = uses.filter((other) => other.place === place && other.fromMs <= fromMs && fromMs < other.toMs);
    expect(together.reduce((sum, { share }) => sum + share, 0)).toBeLessThanOrEqual(1);
  }
}

const nodes = (...gpus: number[]): RayletSpec[] =>
  gpus.map((GPU, index) => ({ name: `n${index}`, resources: { CPU: 4, ...(GPU > 0 && { GPU }) } }));
const each = (name: string, count: number) => Array.from({ length: count }, (_, index) => `${name} ${index}`);

test(
  "ray 8.57: 12 one-GPU actors on 3 nodes of 4 get each device once; the 13th waits, and says for what",
  async () => {
    const cluster = await started(...nodes(4, 4, 4));
    const actors = await Promise.all(Array.from({ length: 12 }, () => create(cluster, { numGpus: 1 })));
    expect((await placesOf(cluster, actors)).sort()).toEqual([...each("n0", 4), ...each("n1", 4), ...each("n2", 4)]);
    const next = await create(cluster, { numGpus: 1 });
    expect(await waits(cluster, next)).toMatch(/^busy: needs 1 GPU.*1 GPU short \(0 GPU there\)/);
    const [freed] = await placesOf(cluster, actors.slice(0, 1));
    await cluster.kill(actors[0]);
    expect(await placesOf(cluster, [next])).toEqual([freed]);
  },
  TEST_MS,
);

test(
  "ray 8.59: nodes with 0, 5 and 10 GPUs: 15 actors fill the two that have some, the 16th waits",
  async () => {
    const cluster = await started(...nodes(0, 5, 10));
    const actors = await Promise.all(Array.from({ length: 15 }, () => create(cluster, { numGpus: 1 })));
    expect((await placesOf(cluster, actors)).sort()).toEqual([...each("n1", 5), ...each("n2", 10)].sort());
    expect(await waits(cluster, await create(cluster, { numGpus: 1 }))).toContain("busy");
    // One without a device sees none, on whichever node it is.
    const plain = await create(cluster, {});
    expect(await plain.devices()).toEqual([]);
  },
  TEST_MS,
);

test(
  "ray 8.60: actors that come and go, whole devices and fractions: no two are on one device at the same time beyond what it has",
  async () => {
    const cluster = await started(...nodes(1, 2));
    const uses: Use[] = [];
    const turn = async (numGpus: number): Promise<void> => {
      const actor = await create(cluster, { numGpus });
      const [place] = await placesOf(cluster, [actor]);
      await delay(systemClock, 100);
      const interval = await actor.interval();
      await cluster.kill(actor);
      uses.push({ place: place!, share: numGpus, ...interval });
    };
    await Promise.all(Array.from({ length: 4 }, () => [turn(1), turn(0.5), turn(0.5)]).flat());
    expect(uses).toHaveLength(12);
    expectNoneShared(uses);
  },
  TEST_MS,
);

test(
  "ray 8.60 with tasks: whole devices and fractions in turns: no two are on one device at the same time beyond what it has",
  async () => {
    const cluster = await started(...nodes(2));
    const use = cluster.task<typeof useGpu>(GPU_ACTOR, "useGpu").options({ numCpus: 0 });
    const turn = async (numGpus: number): Promise<Use> => {
      const { nodeId, devices, fromMs, toMs } = await use.options({ numGpus })(100);
      expect(devices).toHaveLength(1);
      return { place: `${nodeId} ${devices[0]}`, share: numGpus, fromMs, toMs };
    };
    const uses = await Promise.all(Array.from({ length: 4 }, () => [turn(1), turn(0.5), turn(0.5)]).flat());
    expect(uses).toHaveLength(12);
    expectNoneShared(uses);
  },
  TEST_MS,
);

test(
  "ray 8.61: an actor that ends frees its GPU for the next, five times on one device",
  async () => {
    const cluster = await started(...nodes(1));
    for (let turn = 0; turn < 5; turn++) {
      const actor = await create(cluster, { numGpus: 1 });
      expect(await placesOf(cluster, [actor])).toEqual(["n0 0"]);
      await cluster.kill(actor);
    }
  },
  TEST_MS,
);

test(
  "ray 8.61: an actor ends with the driver that made it, and frees its GPU for the next driver's, five times on one device",
  async () => {
    await started(...nodes(1));
    for (let turn = 0; turn < 5; turn++) {
      const driver = await real!.connect({ namespace: `turn${turn}` });
      const actor = await create(driver, { numGpus: 1 });
      expect(await placesOf(driver, [actor])).toEqual(["n0 0"]);
      await driver.close();
    }
  },
  TEST_MS,
);

test(
  "ray 8.11: bundles on two nodes with one GPU each: in each of them the process sees GPU 0",
  async () => {
    const cluster = await started(...nodes(1, 1));
    const group = await cluster.placementGroup([{ GPU: 1 }, { GPU: 1 }], { strategy: "STRICT_SPREAD" });
    await group.ready({ timeoutMs: 20_000 });
    const actors = await Promise.all(
      [0, 1].map((index) => create(cluster, { numGpus: 1, placement: group.bundle(index) })),
    );
    expect((await placesOf(cluster, actors)).sort()).toEqual(["n0 0", "n1 0"]);
    await Promise.all(actors.map((actor) => cluster.kill(actor)));
    const use = cluster.task<typeof useGpu>(GPU_ACTOR, "useGpu").options({ numCpus: 0, numGpus: 1 });
    const seen = await Promise.all([0, 1].map((index) => use.options({ placement: group.bundle(index) })(0)));
    expect(seen.map(({ devices }) => devices)).toEqual([[0], [0]]);
    expect(new Set(seen.map(({ nodeId }) => nodeId)).size).toBe(2);
  },
  TEST_MS,
);

test(
  "ray 8.12: two groups of one GPU on a node with two: different CUDA_VISIBLE_DEVICES; 0.9 and 0.01 in one bundle: the same",
  async () => {
    const cluster = await started(...nodes(2));
    const groups = await Promise.all([0, 1].map(() => cluster.placementGroup([{ GPU: 1 }])));
    const actors = await Promise.all(
      groups.flatMap((group) => [0.9, 0.01].map((numGpus) => create(cluster, { numGpus, placement: group.bundle(0) }))),
    );
    const [one, oneToo, two, twoToo] = await placesOf(cluster, actors);
    expect([one, two].sort()).toEqual(["n0 0", "n0 1"]);
    expect([oneToo, twoToo]).toEqual([one, two]);
    // areal 7: no GPU in a GPU bundle is no device.
    const none = await create(cluster, { numGpus: 0, placement: groups[0]!.bundle(0) });
    expect(await none.devices()).toEqual([]);
  },
  TEST_MS,
);
