import { hostname } from "node:os";
import { join } from "node:path";
import { systemClock } from "@whipray/core";
import { hasAuthority, openAuthority } from "./authority-files.io.ts";
import { openClusterDirectory, writeClusterFile } from "./cluster-file.io.ts";
import { runDaemon } from "./daemon-process.io.ts";
import { startHeadNode } from "./head-node.io.ts";
import { namesOf, newCertificate } from "./tls-certificate.io.ts";

// Whatever it writes, beside what says its mode itself. A raylet keeps the user's mask: its engines write the user's files.
process.umask(0o077);

/** Main file of a head's process. */
await runDaemon("head", async (config, { logger }) => {
  const { directory, host, port, insecurePlaintext } = config;
  const known = openClusterDirectory(directory);
  const { clusterId, secret } = known;
  // A cluster that began with TLS goes on with it: its machines and programs know it by its pin.
  const authority =
    config.tls || hasAuthority(directory) ? await openAuthority(directory, clusterId, systemClock.wallMs()) : undefined;
  const tls = authority && (await newCertificate(namesOf(host), authority));
  const node = await startHeadNode({
    secret,
    clusterId,
    socket: join(directory, "head.sock"),
    listen: { host, port: port === 0 ? (known.port ?? 0) : port, insecurePlaintext, tls, allowedHosts: [hostname()] },
    journal: join(directory, "journal.db"),
    logger,
  });
  const listens = Number(new URL(node.url!).port);
  if (listens !== known.port) writeClusterFile(directory, { clusterId, secret, port: listens });
  logger.info("head is up", { clusterId, url: node.url, tls: tls !== undefined });
  return {
    facts: { clusterId, url: node.url, unixUrl: node.unixUrl, directory, insecurePlaintext },
    stop: () => node.stop(),
  };
});
