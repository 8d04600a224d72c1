import { afterAll, beforeAll, expect, test } from "vitest";
import { type ActorOptions, type Cluster, init } from "../src/index.ts";
import type { Sample } from "./sample-actor.ts";
import type * as tasks from "./sample-tasks.ts";

const SAMPLE = new URL("./sample-actor.ts", import.meta.url);
let cluster: Cluster;

beforeAll(async () => {
  cluster = await init({ fakeDevices: "8xH100", numCpus: 4 });
});
afterAll(() => cluster.close());

function create(options: ActorOptions) {
  return cluster
    .actor<Sample>(SAMPLE, "Sample")
    .options({ numCpus: 0, ...options })
    .create(0);
}

test("a placed bundle tells its devices, NUMA nodes and links, and says why in words", async () => {
  const group = await cluster.placementGroup([{ GPU: 4 }, { GPU: 2 }], { links: ["ANY", "STRICT"] });
  await group.ready({ timeoutMs: 10_000 });
  const { bundles } = await group.table();
  expect(bundles[0]).toMatchObject({
    devices: [{ index: 0 }, { index: 1 }, { index: 2 }, { index: 3 }],
    numaNodes: [0],
    cpuAffinity: "0-55,112-167",
    links: "NV18 to NODE",
    choice: "4 × GPU 0-3: NV18 to NODE, NUMA 0",
  });
  expect(bundles[1]).toMatchObject({ numaNodes: [1], links: "NV18", choice: "2 × GPU 4-5: NV18, NUMA 1" });
  await group.remove();
});

test("links STRICT: a linked pair for an actor, and a wait with its reason where no such group exists", async () => {
  const first = await create({ numGpus: 1 });
  const pair = await create({ numGpus: 2, links: "STRICT" });
  expect(await pair.env("CUDA_VISIBLE_DEVICES")).toBe("2,3");
  expect((await cluster.actorRow(pair)).choice).toBe("2 × GPU 2-3: NV18, NUMA 0");
  // The one whose partner is taken: pairs stay whole.
  const second = await create({ numGpus: 1 });
  expect(await second.env("CUDA_VISIBLE_DEVICES")).toBe("1");
  const group = await cluster.placementGroup([{ GPU: 3 }], { links: "STRICT" });
  expect(await group.wait(300)).toBe(false);
  expect((await group.table()).reasons[0]?.text).toContain("needs 3 GPU with all devices in one link domain");
  await Promise.all([group.remove(), ...[first, pair, second].map((actor) => cluster.kill(actor))]);
});

test("isolation of a group holds for actors that say nothing themselves", async () => {
  const env = { CUDA_VISIBLE_DEVICES: "6,7" };
  const [open, closed] = await Promise.all([
    cluster.placementGroup([{ GPU: 1 }], { isolation: "none" }),
    cluster.placementGroup([{ GPU: 1 }]),
  ]);
  const own = await create({ placement: open.bundle(0), numGpus: 1, env });
  expect(await own.env("CUDA_VISIBLE_DEVICES")).toBe("6,7");
  const refused = await create({ placement: closed.bundle(0), numGpus: 1, env });
  await expect(refused.add(1)).rejects.toThrow(/CUDA_VISIBLE_DEVICES would show other devices than were granted/);
  const plain = await create({});
  expect(await plain.env("CUDA_VISIBLE_DEVICES")).toBe("");
  await Promise.all([open.remove(), closed.remove(), cluster.kill(plain)]);
});

test("rules that are none are refused with the choices", async () => {
  const bad = "NEAR" as "ANY";
  await expect(create({ links: bad })).rejects.toThrow(/links must be ANY or STRICT; got NEAR/);
  await expect(create({ isolation: "cgroup" as "env" })).rejects.toThrow(/isolation must be env or none/);
  await expect(cluster.placementGroup([{ GPU: 1 }], { links: bad })).rejects.toThrow(/links must be ANY or STRICT/);
  await expect(cluster.placementGroup([{ GPU: 1 }], { links: ["ANY", "ANY"] })).rejects.toThrow(
    /one entry per bundle: 1/,
  );
  await expect(init({ fakeDevices: "9xH100" })).rejects.toThrow(/there is no fake machine "9xH100"; there are 8xH100/);
});

test("accelerator_type: by option and by label, for actors and tasks; another one is infeasible", async () => {
  expect((await cluster.nodes())[0]!.labels).toEqual({ "ray.io/accelerator-type": "H100" });
  const actor = await create({ acceleratorType: "H100", labels: { "ray.io/accelerator-type": "in(A100,H100)" } });
  expect(await actor.add(1)).toBe(1);
  await cluster.kill(actor);
  const square = cluster.task<typeof tasks.square>(new URL("./sample-tasks.ts", import.meta.url), "square");
  expect(await square.options({ acceleratorType: "H100" })(2)).toBe(4);
  const other = square.options({ labels: { "ray.io/accelerator-type": "!H100" }, timeoutMs: 1_000 });
  await expect(other(2)).rejects.toThrow(/infeasible: no node has the labels/);
});
