import { type Clock, type IdSource, type Logger, WhiprayError } from "@whipray/core";
import { type Endpoint, type NodeRow, nodesList, ownPidNamespace, type Peer } from "@whipray/rpc";
import { type ObjectAccess, type ObjectClient, type ObjectHome, openObjectClient } from "@whipray/worker";

export interface ObjectHomeOptions {
  readonly endpoint: Endpoint;
  readonly ids: IdSource;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly headUrl: string;
  /** The raylet beside which this process was started, if there is one. */
  readonly known: ObjectHome | undefined;
  readonly head: () => Peer;
}

/** A driver's way to an object store: the raylet of its own machine, else the first one that is alive (design.md, mechanism 7). */
export function objectAccess(options: ObjectHomeOptions): ObjectAccess {
  let client: Promise<ObjectClient> | undefined;
  return {
    client() {
      client ??= open(options).catch((error: unknown) => {
        client = undefined; // a raylet may come later
        throw error;
      });
      return client;
    },
  };
}

async function open({ endpoint, ids, clock, logger, headUrl, known, head }: ObjectHomeOptions): Promise<ObjectClient> {
  const alive = async (): Promise<NodeRow[]> => {
    const { nodes } = await head().invoke(nodesList, {});
    return nodes.filter(({ state }) => state === "ALIVE");
  };
  const urlOf = async (raylet: string): Promise<string> => {
    return (await alive()).find(({ nodeId }) => `${nodeId}/raylet` === raylet)?.url ?? headUrl;
  };
  const home = known ?? homeAmong(await alive(), headUrl);
  return openObjectClient({ endpoint, ids, clock, logger, home, urlOf, collectsOnlyForRoom: true });
}

function homeAmong(nodes: readonly NodeRow[], headUrl: string): ObjectHome {
  const here = nodes.find(({ socket, pidNamespace }) => socket && pidNamespace === ownPidNamespace());
  if (here) return { address: `${here.nodeId}/raylet`, url: `unix:${here.socket}`, local: true };
  const first = nodes[0];
  if (!first) {
    throw new WhiprayError({
      code: "NO_NODE",
      message: "No node is alive that could keep a large object",
      retryable: true,
    });
  }
  return { address: `${first.nodeId}/raylet`, url: first.url ?? headUrl, local: false };
}
