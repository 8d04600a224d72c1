import { init } from "whipray";
import type { Rank } from "./rank.ts";

const RANK = new URL("./rank.ts", import.meta.url);
await using cluster = await init({ numCpus: 8, fakeDevices: "8xH100", labels: { zone: "a" } });

console.log("Two bundles, all or nothing; the answer says which devices");
const group = await cluster.placementGroup(
  [
    { CPU: 2, GPU: 2 },
    { CPU: 2, GPU: 2 },
  ],
  {
    strategy: "PACK",
    labels: [{ zone: "in(a,b)" }, { zone: "!c" }],
    links: "STRICT",
    timeoutMs: 30_000,
  },
);
await group.ready();
for (const { index, nodeId, choice } of (await group.table()).bundles)
  console.log(`  bundle ${index} on ${nodeId === undefined ? "no node" : "the node"}: ${choice}`);

const ranks = await Promise.all(
  group.bundleSpecs.map((_, index) =>
    cluster
      .actor<Rank>(RANK, "Rank")
      .options({ placement: group.bundle(index), numCpus: 1, numGpus: 2, captureChildTasks: true })
      .create(),
  ),
);
for (const rank of ranks) console.log(`  ${await rank.describe()}; its child: ${await rank.child()}`);

console.log("Why others wait, bundle by bundle");
for (const [strategy, bundles] of [
  ["PACK", [{ CPU: 6 }]],
  ["SPREAD", [{ CPU: 1 }, { GPU: 9 }]],
  ["STRICT_SPREAD", [{ CPU: 1 }, { CPU: 1 }]],
] as const) {
  const waiting = await cluster.placementGroup(bundles, { strategy });
  const [reason] = await waiting.explain();
  console.log(`  ${strategy}: ${reason?.kind}: ${reason?.text.replace(/node_\w+/g, "the node")}`);
  await waiting.remove();
}
const refused = await cluster
  .placementGroup([{ GPU: 9 }], { failFast: true })
  .catch((error: { code: string }) => error.code);
console.log(`  with failFast: ${String(refused)}`);

console.log("Removal ends what runs inside, and gives everything back");
await group.remove();
const ended = await ranks[0]!.describe().catch((error: Error) => error.name);
console.log(`  ${ended}`);
