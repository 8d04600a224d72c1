import { type ActorOptions, type BundlePlacement, type Cluster, init } from "whipray";
import type { Rank } from "./rank.ts";

const RANK = new URL("./rank.ts", import.meta.url);
// Eight GPUs that exist in the answers of a fake nvidia-smi alone: pairs with NVLink, four on each of two NUMA nodes.
await using cluster = await init({ fakeDevices: "8xH100", numCpus: 16 });

console.log("Two rollout instances with four GPUs each");
{
  const group = await cluster.placementGroup([{ GPU: 4 }, { GPU: 4 }], { strategy: "STRICT_PACK" });
  await group.ready({ timeoutMs: 10_000 });
  for (const { index, choice } of (await group.table()).bundles) {
    const instance = await rank(cluster, group.bundle(index), { numGpus: 4 });
    console.log(`  rollout/${index}  ${choice}\n             ${await instance.sees()}`);
  }
  // Ends what runs inside, too: the next phase gets the same GPUs.
  await group.remove();
}

console.log("\nEight training ranks (0.9 of a GPU each), and a reference model beside each of them (0.01)");
{
  const group = await cluster.placementGroup(
    Array.from({ length: 8 }, () => ({ GPU: 1 })),
    { strategy: "STRICT_PACK" },
  );
  await group.ready({ timeoutMs: 10_000 });
  const { bundles } = await group.table();
  const lines = bundles.map(async ({ index, choice }) => {
    const train = await rank(cluster, group.bundle(index), { numGpus: 0.9 });
    const reference = await rank(cluster, group.bundle(index), { numGpus: 0.01 });
    return `  ${choice}\n    train/${index}  ${await train.sees()}\n    ref/${index}    ${await reference.sees()}`;
  });
  for (const line of await Promise.all(lines)) console.log(line);
  const helper = await rank(cluster, undefined, {});
  console.log(`\nA process without a GPU\n  helper     ${await helper.sees()}`);
  await group.remove();
}

console.log("\nFour GPUs that must all be linked, where only pairs are");
const strict = await cluster.placementGroup([{ GPU: 4 }], { links: "STRICT" });
if (await strict.wait(500)) throw new Error("pairs are no group of four");
console.log(`  waits: ${(await strict.table()).reasons[0]?.text}`);

function rank(on: Cluster, placement: BundlePlacement | undefined, options: ActorOptions) {
  const where = placement ? { placement } : {};
  return on
    .actor<Rank>(RANK, "Rank")
    .options({ numCpus: 0, ...options, ...where })
    .create();
}
