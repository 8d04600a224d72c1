import { describeMachine } from "@whipray/raylet";
import { runDaemon } from "./daemon-process.io.ts";
import { startRayletNode } from "./raylet-node.io.ts";

/** How often a raylet that waits for its head says so. */
const SAY_EVERY_MS = 5_000;

/** Main file of a raylet's process. */
await runDaemon("raylet", async (config, { logger, leave, notYet }) => {
  const { clusterId, nodeId, headUrl, listen, insecurePlaintext } = config;
  const env = Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  const waiting = setInterval(() => {
    logger.warn("the head does not answer yet; trying on", { headUrl });
  }, SAY_EVERY_MS);
  try {
    const node = await startRayletNode({
      ...config,
      listen: listen && { ...listen, insecurePlaintext },
      env,
      logger,
      leave,
      onRefused: notYet,
    });
    logger.info("raylet is up", { clusterId, nodeId, url: node.url, headUrl });
    describeMachine().then(
      (machine) => logger.info("this machine", machine),
      (error: unknown) => logger.warn("the machine could not be described", { error: String(error) }),
    );
    return {
      facts: {
        clusterId,
        nodeId,
        url: node.url,
        unixUrl: node.unixUrl,
        headUrl,
        insecurePlaintext,
        fakeDevices: config.fakeDevices,
      },
      stop: (reason) => node.stop(reason),
    };
  } finally {
    clearInterval(waiting);
  }
});
