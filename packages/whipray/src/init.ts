import { type Logger, type ResourceAmounts, WhiprayError } from "@whipray/core";
import type { Cluster } from "./cluster.ts";
import { clusterOf, connectDriver } from "./connect.ts";
import { startEmbedded } from "./node/embedded.io.ts";
import { readToken } from "./node/token-file.io.ts";

export interface InitOptions {
  /** `host:port` or URL of a head. Without it a cluster starts inside this program. */
  address?: string;
  /** The driver's token. Default: WHIPRAY_TOKEN, else the token file of `whipray start`. */
  token?: string;
  /** Names are unique in it. Default: one of its own per job (Ray). */
  namespace?: string;
  /** Resources of the embedded node. Defaults: what the machine has. */
  numCpus?: number;
  numGpus?: number;
  numNpus?: number;
  memory?: number;
  resources?: ResourceAmounts;
  labels?: Readonly<Record<string, string>>;
  /** PEM of the authority of a `wss:` head. */
  ca?: string;
  /** How long starting or reaching the cluster may take. Default 30 000. */
  timeoutMs?: number;
  logger?: Logger;
}

const EMBEDDED_ONLY = ["numCpus", "numGpus", "numNpus", "memory", "resources", "labels"] as const;

/**
 * Starts a cluster in this program (in a thread of its own), or connects to one (Ray: `ray.init`). `await using` ends it.
 * @throws WhiprayError `UNREACHABLE`, `UNAUTHENTICATED`, `INVALID_ADDRESS`, `INVALID_ARGUMENT`.
 */
export async function init(options: InitOptions = {}): Promise<Cluster> {
  const { address, namespace, logger, timeoutMs = 30_000 } = options;
  const common = { namespace, logger, timeoutMs };
  if (address === undefined) {
    const embedded = await startEmbedded(options, timeoutMs);
    try {
      return clusterOf(await connectDriver({ ...common, ...embedded.access }), embedded.stop);
    } catch (error) {
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
    headUrl: headUrl(address),
    token: options.token ?? readToken(),
    ca: options.ca,
  });
  return clusterOf(driver, async () => {});
}

/** `host:port`, `[v6]:port`, `ws://…`, `wss://…` or `unix:/…` as an URL. @throws WhiprayError `INVALID_ADDRESS` (B36). */
export function headUrl(address: string): string {
  if (/^(wss?:\/\/|unix:\/)/.test(address)) return address;
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})$/.exec(address);
  const port = Number(match?.[2]);
  if (!match || port < 1 || port > 65_535) {
    throw new WhiprayError({
      code: "INVALID_ADDRESS",
      message: `An address looks like host:8265, [::1]:8265 or wss://host:8265; got ${JSON.stringify(address.slice(0, 200))}`,
    });
  }
  return `ws://${match[1]}:${port}`;
}
