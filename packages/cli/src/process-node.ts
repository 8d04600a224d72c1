import { logTail, nodesList } from "@whipray/rpc";
import { nothingNamed } from "./attach-target.ts";
import type { HeadClient } from "./head-client.ts";

/**
 * The node that knows a worker or an engine by its id: all are asked.
 * @throws WhiprayError `NOT_FOUND`
 */
export async function nodeOfProcess(process: string, head: HeadClient): Promise<string> {
  const { nodes } = await head.ask(nodesList, {});
  const alive = nodes.filter(({ state }) => state !== "DEAD");
  const asked = alive.map(async ({ nodeId }) => {
    await head.askRaylet(nodeId, logTail, { process, lines: 0 });
    return nodeId;
  });
  try {
    return await Promise.any(asked);
  } catch {
    throw nothingNamed(process);
  }
}
