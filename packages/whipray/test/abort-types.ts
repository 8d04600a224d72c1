import type { Cluster, ClusterEvent, PlacementGroup } from "../src/index.ts";
import type { Sample } from "./sample-actor.ts";

// Everything that waits takes a signal; checked by the compiler alone (tsconfig.test.json), nothing here runs.
export async function allowed(cluster: Cluster, group: PlacementGroup, signal: AbortSignal): Promise<void> {
  const module = new URL("./sample-actor.ts", import.meta.url);
  const actor = await cluster.actor<Sample>(module, "Sample").options({ signal }).create(0);
  await cluster.getActor<Sample>("name", undefined, { signal });
  await cluster.ready(actor, { signal, timeoutMs: 1 });
  await cluster.kill(actor, { signal, noRestart: false });
  await cluster.placementGroup([{ CPU: 1 }], { signal });
  await Promise.all([
    group.ready({ signal }),
    group.wait(1, { signal }),
    group.table({ signal }),
    group.remove({ signal }),
  ]);
  await cluster.wait([await cluster.put(1, { signal })], { signal });
  await Promise.all([cluster.nodes({ signal }), cluster.listActors({ signal }), cluster.listObjects({ signal })]);
  await Promise.all([cluster.clusterResources({ signal }), cluster.availableResources({ signal })]);
  for await (const event of cluster.events({ types: ["ACTOR_DEAD"], severity: "ERROR", signal })) {
    const one: ClusterEvent = event;
    void one;
  }
}

export async function refused(cluster: Cluster): Promise<void> {
  // @ts-expect-error no signal
  await cluster.nodes({ signal: "stop" });
  // @ts-expect-error an option that is none
  await cluster.kill({}, { abort: true });
  // @ts-expect-error an event type that is none
  cluster.events({ types: ["ACTOR_BORN"] });
}
