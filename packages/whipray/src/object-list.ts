import { nodesList, type ObjectList, objectList } from "@whipray/rpc";
import type { Driver } from "./driver.ts";
import { type ListOptions, matching } from "./list-options.ts";

/** Objects of one node that a list shows. */
const OBJECTS_SHOWN_LIMIT = 10_000;

/** One object in it. */
export type ObjectRow = ObjectList["objects"][number];
/** The object store of one node. */
export type NodeObjects = ObjectList & { nodeId: string };

/** Asks every node that is alive. One that does not answer is left out: it is on its way to be dead. `limit` is each node's. */
export async function listObjects(driver: Driver, options?: ListOptions<ObjectRow>): Promise<NodeObjects[]> {
  const { endpoint, headUrl } = driver.connection;
  const { nodes } = await driver.ask(nodesList, {});
  const asked = nodes
    .filter(({ state }) => state === "ALIVE")
    .map(async ({ nodeId, url }): Promise<NodeObjects> => {
      const raylet = endpoint.connect({ to: `${nodeId}/raylet`, url: url ?? headUrl, purpose: "data" });
      const found = await raylet.invoke(objectList, { limit: OBJECTS_SHOWN_LIMIT });
      return { nodeId, ...found, objects: matching(found.objects, options) };
    });
  const answers = await Promise.allSettled(asked);
  return answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
}
