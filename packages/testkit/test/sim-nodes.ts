import { expect } from "vitest";
import type { SimDriver } from "../src/sim/sim-driver.ts";
import type { SimRaylet } from "../src/sim/sim-raylet.ts";
import { type SimCluster, simulate } from "../src/sim/simulate.ts";

/** Three nodes with 4 CPUs and 2 GPUs each, and a driver. */
export async function three(seed = 1, count = 3): Promise<{ cluster: SimCluster; driver: SimDriver }> {
  const raylets = Array.from({ length: count }, () => ({ resources: { CPU: 4, GPU: 2 } }));
  const cluster = await simulate({ seed, raylets });
  return { cluster, driver: await cluster.driver() };
}

/** An actor that must start on this node, and may start anywhere later. */
export async function actorOn(
  cluster: SimCluster,
  driver: SimDriver,
  raylet: SimRaylet,
  maxRestarts: number,
): Promise<string> {
  // One that never restarts waits for its node, which may be suspect for a moment.
  const more = { nodeId: raylet.nodeId, nodeSoft: maxRestarts !== 0, maxRestarts };
  const actorId = await cluster.until(driver.createActor({ CPU: 1, GPU: 1 }, more));
  const row = await cluster.until(driver.settled(actorId));
  expect(row).toMatchObject({ state: "ALIVE", nodeId: raylet.nodeId, epoch: 1 });
  return actorId;
}
