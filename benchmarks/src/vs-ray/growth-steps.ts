import { readFileSync } from "node:fs";
import type { ActorHandle, Cluster } from "whipray";
import { type FarNode, farActor, startFar } from "./far-steps.ts";
import { GROWTH } from "./growth.ts";
import type { Running, Start } from "./steps.ts";
import type { AsyncActor } from "./targets.ts";

const TARGETS = new URL("./targets.ts", import.meta.url);
/** Calls of one step, spread over all actors. */
const CALLS = 1_000;
/** Memory of an actor's process that nothing else shares: what a thousand of them need is more than most machines have. */
const ACTOR_BYTES = 50_000_000;
/** The rest of the machine's free memory stays free. */
const MEMORY_PART = 0.8;

/** The same thousand calls with ever more actors, and over ever more raylets with an actor each. */
export const GROWTH_STEPS: Readonly<Record<string, Start>> = Object.fromEntries([
  ...GROWTH.actors.map((count): [string, Start] => [`grow-actors-${count}`, (cluster) => overActors(cluster, count)]),
  ...GROWTH.raylets.map((count): [string, Start] => [
    `grow-raylets-${count}`,
    (cluster) => overRaylets(cluster, count),
  ]),
]);

async function overActors(cluster: Cluster, count: number): Promise<Running> {
  refuseWithoutMemory(count);
  const make = () => cluster.actor<AsyncActor>(TARGETS, "AsyncActor").options({ numCpus: 0 }).create();
  const actors = await Promise.all(Array.from({ length: count }, make));
  await Promise.all(actors.map((actor) => actor.pid()));
  return {
    step: () => spread(actors),
    end: async () => void (await Promise.all(actors.map((actor) => cluster.kill(actor)))),
  };
}

async function overRaylets(cluster: Cluster, count: number): Promise<Running> {
  const names = Array.from({ length: count - 1 }, (_, i) => `far${i}`);
  const nodes: FarNode[] = [];
  const stop = async (): Promise<void> => {
    for (const node of nodes) await node.stop();
  };
  try {
    // One after another: they share two processors with everything else.
    for (const name of names) nodes.push(await startFar(name));
  } catch (error) {
    await stop();
    throw error;
  }
  const near = await cluster.actor<AsyncActor>(TARGETS, "AsyncActor").options({ numCpus: 0 }).create();
  const actors = [near, ...(await Promise.all(names.map((name) => farActor(cluster, name))))];
  return {
    step: () => spread(actors),
    end: async () => {
      await Promise.all(actors.map((actor) => cluster.kill(actor)));
      await stop();
    },
  };
}

function spread(actors: readonly ActorHandle<AsyncActor>[]): Promise<unknown> {
  return Promise.all(Array.from({ length: CALLS }, (_, i) => actors[i % actors.length]!.smallValue()));
}

/** @throws Error that names both: the row is shown as failed with it. */
function refuseWithoutMemory(count: number): void {
  const freeBytes = Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1]) * 1_024;
  const needed = count * ACTOR_BYTES;
  if (needed <= freeBytes * MEMORY_PART) return;
  const gb = (bytes: number): string => (bytes / 1e9).toFixed(0);
  throw new Error(
    `${count} actors, a process each, need about ${gb(needed)} GB; ${gb(freeBytes)} GB are free, of which ${MEMORY_PART * 100} % may be used`,
  );
}
