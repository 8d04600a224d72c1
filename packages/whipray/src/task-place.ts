import { covers, WhiprayError } from "@whipray/core";
import { groupWait, type NodeRow, nodesList, ownPidNamespace, type Peer } from "@whipray/rpc";
import type { Driver } from "./driver.ts";
import type { TaskShape } from "./task-options.ts";

/** Where workers for tasks are leased. */
export interface TaskPlace {
  readonly raylet: Peer;
  readonly nodeId: string;
  /** URL of the raylet, when others can dial it. */
  readonly url: string | undefined;
}

/**
 * The raylet that is asked for workers of this shape: that of the caller's own machine; where it can never hold it, the first node that
 * can; for a bundle the node where it lies. Waits for a group that is not placed yet. @throws WhiprayError `PLACEMENT_GROUP_REMOVED`, `NO_NODE`.
 */
export async function taskPlace(driver: Driver, shape: TaskShape): Promise<TaskPlace> {
  const nodeId = shape.pgId === undefined ? undefined : await bundleNode(driver, shape.pgId, shape);
  const { nodes } = await driver.ask(nodesList, {});
  const alive = nodes.filter(({ state }) => state === "ALIVE");
  const local = driver.connection.localNode;
  const home = alive.find((node) => (local === undefined ? isHere(node) : node.nodeId === local)) ?? alive[0];
  const able = (node: NodeRow | undefined) => node !== undefined && covers(node.total, shape.units);
  const chosen =
    nodeId === undefined
      ? able(home)
        ? home
        : (alive.find(able) ?? home)
      : alive.find((node) => node.nodeId === nodeId);
  if (!chosen) throw new WhiprayError({ code: "NO_NODE", message: "No node is alive for the task", retryable: true });
  return { raylet: await reach(driver, chosen), nodeId: chosen.nodeId, url: chosen.url };
}

async function reach(driver: Driver, { nodeId, socket, url, pidNamespace }: NodeRow): Promise<Peer> {
  const { raylet, connection } = driver;
  const address = `${nodeId}/raylet`;
  if (raylet?.address === address && !raylet.closed) return raylet;
  if (socket && pidNamespace === ownPidNamespace()) {
    return connection.endpoint.connect({ to: address, url: `unix:${socket}`, purpose: "control" });
  }
  return driver.reach({ address, nodeId, url });
}

function isHere({ socket, pidNamespace }: NodeRow): boolean {
  return socket !== undefined && pidNamespace === ownPidNamespace();
}

async function bundleNode(
  driver: Driver,
  pgId: string,
  { bundleIndex, units }: TaskShape,
): Promise<string | undefined> {
  const { group } = await driver.ask(groupWait, { pgId });
  const bundles = bundleIndex === -1 ? group.bundles : group.bundles.filter(({ index }) => index === bundleIndex);
  const bundle = bundles.find((one) => covers(one.units, units)) ?? bundles[0];
  if (bundle?.nodeId === undefined || !covers(bundle.units, units)) {
    throw new WhiprayError({
      code: "UNSCHEDULABLE",
      message: `No bundle ${bundleIndex === -1 ? "" : `${bundleIndex} `}of ${pgId} can hold the task`,
      details: { pgId, bundleIndex, units },
    });
  }
  return bundle.nodeId;
}
