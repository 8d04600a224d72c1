import { hostname } from "node:os";
import { join } from "node:path";
import { openClusterDirectory, writeClusterFile } from "./cluster-file.io.ts";
import { runDaemon } from "./daemon-process.io.ts";
import { startHeadNode } from "./head-node.io.ts";

/** Main file of a head's process. */
await runDaemon("head", async (config, { logger }) => {
  const { directory, host, port, insecurePlaintext } = config;
  const known = openClusterDirectory(directory);
  const { clusterId, secret } = known;
  const node = await startHeadNode({
    secret,
    clusterId,
    socket: join(directory, "head.sock"),
    listen: { host, port: port === 0 ? (known.port ?? 0) : port, insecurePlaintext, allowedHosts: [hostname()] },
    journal: join(directory, "journal.db"),
    logger,
  });
  const listens = Number(new URL(node.url!).port);
  if (listens !== known.port) writeClusterFile(directory, { clusterId, secret, port: listens });
  logger.info("head is up", { clusterId, url: node.url });
  return {
    facts: { clusterId, url: node.url, unixUrl: node.unixUrl, directory, insecurePlaintext },
    stop: () => node.stop(),
  };
});
