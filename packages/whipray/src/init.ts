import { type AbortOptions, abortable, type Logger, type ResourceAmounts, WhiprayError } from "@whipray/core";
import type { Cluster } from "./cluster.ts";
import { clusterOf, connectDriver } from "./connect.ts";
import { driverUrl } from "./node/address-file.io.ts";
import { startEmbedded } from "./node/embedded.io.ts";
import { readToken } from "./node/token-file.io.ts";
import type { RuntimeEnv } from "./runtime-env.ts";

export interface InitOptions extends AbortOptions {
  /**
   * `host:port` of a head on this machine; the URL of one elsewhere: `wss://host:port#pin=…`, as `whipray start` prints it, or `ws:` for
   * plain text. Without it a cluster starts inside this program.
   */
  address?: string;
  /** The driver's token. Default: WHIPRAY_TOKEN, else the token file of `whipray start`. */
  token?: string;
  /** Names are unique in it. Default: one of its own per job (Ray). */
  namespace?: string;
  /**
   * Around all actors and tasks that this program makes; what they say themselves wins, part by part, and variables are merged (Ray:
   * `ray.init(runtime_env=…)`).
   */
  runtimeEnv?: RuntimeEnv;
  /** Resources of the embedded node. Defaults: what the machine has. */
  numCpus?: number;
  numGpus?: number;
  numNpus?: number;
  memory?: number;
  /** Bytes of shared memory for objects (Ray: object_store_memory). Default: 30 % of the node's memory. */
  objectStoreMemory?: number;
  resources?: ResourceAmounts;
  /** Accelerators for trying out, which exist in their tools' answers alone: `8xH100`, `8x910B3`, `mixed`. */
  fakeDevices?: string;
  labels?: Readonly<Record<string, string>>;
  /** PEM of the authority of a `wss:` head whose address has no pin: behind a proxy, say. */
  ca?: string;
  /** How long starting or reaching the cluster may take. Default 30 000. */
  timeoutMs?: number;
  logger?: Logger;
}

const EMBEDDED_ONLY = [
  "numCpus",
  "numGpus",
  "numNpus",
  "memory",
  "objectStoreMemory",
  "resources",
  "fakeDevices",
  "labels",
] as const;

/**
 * Starts a cluster in this program (in a thread of its own), or connects to one (Ray: `ray.init`). `await using` ends it. What was started
 * when the signal aborts is ended again.
 * @throws WhiprayError `UNREACHABLE`, `UNAUTHENTICATED`, `INVALID_ADDRESS`, `INSECURE_ADDRESS`, `INVALID_ARGUMENT`, `TLS_REQUIRED`, `TLS_PIN_MISMATCH`, `INVALID_PATH`.
 */
export function init(options: InitOptions = {}): Promise<Cluster> {
  return abortable(
    options.signal,
    () => start(options),
    (started) => void started.then((cluster) => cluster.close()).catch(() => {}), // what did not start needs no end
  );
}

async function start(options: InitOptions): Promise<Cluster> {
  const { address, namespace, logger, runtimeEnv, timeoutMs = 30_000 } = options;
  const common = { namespace, logger, runtimeEnv, timeoutMs };
  if (address === undefined) {
    const embedded = await startEmbedded(options, timeoutMs);
    const failed = new AbortController();
    try {
      // The driver's links come up while the node registers.
      const { signal } = failed;
      const [driver] = await Promise.all([connectDriver({ ...common, ...embedded.access, signal }), embedded.ready]);
      return clusterOf(driver, embedded.stop);
    } catch (error) {
      failed.abort();
      await embedded.stop();
      throw error;
    }
  }
  for (const key of EMBEDDED_ONLY) {
    if (options[key] !== undefined) {
      throw new WhiprayError({
        code: "INVALID_ARGUMENT",
        message: `${key} says what an embedded cluster has; with an address it must not be given`,
      });
    }
  }
  const driver = await connectDriver({
    ...common,
    headUrl: driverUrl(address),
    token: options.token ?? readToken(),
    ca: options.ca,
  });
  return clusterOf(driver, async () => {});
}
