import { homedir } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { errorToWire } from "@whipray/core";
import { nodeDirectory } from "@whipray/raylet";
import { newClusterSecret, tokenDigest } from "@whipray/rpc";
import { clusterTokens } from "./access.ts";
import type { EmbeddedNews, EmbeddedOptions } from "./embedded.io.ts";
import { abandonFirstWorker, firstWorker } from "./first-worker.io.ts";
import { startHeadNode } from "./head-node.io.ts";
import { startRayletNode } from "./raylet-node.io.ts";
import type { ThreadStart } from "./thread-entry.io.ts";

/** The thread of an embedded cluster: a head without a port or a journal, and one raylet, on unix sockets alone. */
async function main(options: EmbeddedOptions, tell: (news: EmbeddedNews) => void): Promise<() => Promise<void>> {
  const { clusterId, nodeId, incarnation } = options;
  const secret = newClusterSecret();
  const tokens = clusterTokens(secret);
  const env = { HOME: homedir(), ...options.env };
  const directory = nodeDirectory({ cluster: clusterId, nodeId, env });
  const socket = `${directory.node}/head.sock`;
  const headUrl = `unix:${socket}`;
  // It comes up while the raylet looks at the machine.
  const headUp = startHeadNode({ secret, clusterId, socket });
  try {
    const { resources, fakeDevices, labels, cwd } = options;
    const node = await startRayletNode({
      clusterId,
      nodeId,
      headUrl,
      headUp,
      onListening: (localRaylet) =>
        tell({ listening: { headUrl, token: tokens.driver, localNode: nodeId, localRaylet } }),
      token: tokens.raylet,
      accept: { driver: tokenDigest(tokens.driver) },
      incarnation,
      firstWorker: firstWorker(),
      ip: "127.0.0.1",
      resources,
      fakeDevices,
      labels,
      cwd,
      env,
    });
    tell({ ready: true });
    return async () => {
      await node.stop("the embedded cluster was closed");
      await (await headUp).stop();
    };
  } catch (error) {
    const head = await headUp.catch(() => undefined); // then its own error is the one
    await head?.stop();
    throw error;
  }
}

if (parentPort) {
  const port = parentPort;
  try {
    const stop = await main((workerData as ThreadStart).data as EmbeddedOptions, (news) => port.postMessage(news));
    port.once("message", () => void stop().finally(() => process.exit(0)));
  } catch (error) {
    // Else it would wait for its raylet for ever, and this thread for it.
    abandonFirstWorker();
    port.postMessage({ failed: errorToWire(error) } satisfies EmbeddedNews);
    port.close();
  }
}
