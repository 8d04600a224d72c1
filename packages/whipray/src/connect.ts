import {
  type AbortOptions,
  type Clock,
  type IdSource,
  type Logger,
  type RandomSource,
  randomIds,
  silentLogger,
  systemClock,
  systemRandom,
  WhiprayError,
} from "@whipray/core";
import { dialTransport, type Endpoint, type Parts, type Revive, WireEndpoint } from "@whipray/rpc";
import { actorContext, type ObjectAccess, taskContext, workerContext } from "@whipray/worker";
import { Cluster } from "./cluster.ts";
import { Driver } from "./driver.ts";
import { objectAccess } from "./object-home.ts";
import { ObjectStore, objectGet } from "./object-store.ts";
import { PlacementGroup } from "./placement-group.ts";
import { type RuntimeContext, runtimeContext } from "./runtime-context.ts";
import type { RuntimeEnv } from "./runtime-env.ts";
import { decodeArgument, decodeObject, keepHandles, reviveCall } from "./values.ts";

export interface ConnectOptions {
  headUrl: string;
  token: string;
  localNode?: string | undefined;
  /** URL of its raylet. */
  localRaylet?: string | undefined;
  namespace?: string | undefined;
  runtimeEnv?: RuntimeEnv | undefined;
  /** PEM of the authority that signed the cluster's certificates, for `wss:`. */
  ca?: string | undefined;
  /** How long the head may take to answer, milliseconds. */
  timeoutMs: number;
  /** Gives up, also after the connection is there. */
  signal?: AbortSignal | undefined;
  logger?: Logger | undefined;
  clock?: Clock;
  ids?: IdSource;
  random?: RandomSource;
}

/** Time that the head has for the end of a job at goodbye: its work must be gone, not only told so. */
const CLOSE_TIMEOUT_MS = 20_000;

/** Makes this process a driver of the cluster at `headUrl`. @throws WhiprayError `UNREACHABLE`, `UNAUTHENTICATED`, `DEADLINE_EXCEEDED`. */
export async function connectDriver(options: ConnectOptions): Promise<Driver> {
  const { clock = systemClock, ids = randomIds(), random = systemRandom, logger = silentLogger } = options;
  const endpoint = new WireEndpoint({
    address: `head/${ids.next("driver")}`,
    role: "driver",
    token: options.token,
    pid: process.pid,
    clock,
    ids,
    random,
    logger,
    transport: dialTransport({ ca: options.ca }),
  });
  const { headUrl, localNode, localRaylet, signal } = options;
  signal?.addEventListener("abort", () => void endpoint.close(), { once: true });
  const home =
    localNode !== undefined && localRaylet !== undefined
      ? { address: `${localNode}/raylet`, url: localRaylet, local: true }
      : undefined;
  const objects = objectAccess({ endpoint, ids, clock, logger, headUrl, known: home, head: () => driver.head });
  const driver: Driver = makeDriver(endpoint, headUrl, localNode, { clock, ids, random, logger }, objects);
  if (home) driver.raylet = endpoint.connect({ to: home.address, url: home.url, purpose: "control" });
  try {
    await driver.open(options.namespace, options.timeoutMs);
    if (options.runtimeEnv) await driver.runtimeEnvs.surround(options.runtimeEnv);
    return driver;
  } catch (error) {
    await endpoint.close();
    throw error;
  }
}

interface Services {
  clock: Clock;
  ids: IdSource;
  random: RandomSource;
  logger: Logger;
}

function makeDriver(
  endpoint: Endpoint,
  headUrl: string,
  localNode: string | undefined,
  services: Services,
  access: ObjectAccess,
  jobId?: string,
): Driver {
  const objects = new ObjectStore({
    endpoint,
    ids: services.ids,
    viaUrl: headUrl,
    access,
    decode: (parts: Parts) => decodeObject(driver, parts),
    decodeArgument: (parts) => decodeArgument(driver, parts),
    keeping: (object, encode) => driver.scopes.keeping(object, encode),
    keepHandles: (object, parts) => keepHandles(driver, object, parts),
    forget: (object) => driver.scopes.forget(object),
  });
  // Raw: the value goes out in the parts that its owner has.
  endpoint.serveRaw(objectGet, (request, call) => objects.serve(request, call));
  const driver: Driver = new Driver({ endpoint, headUrl, localNode, ...services }, objects, jobId);
  return driver;
}

/** A driver's cluster; `stop` ends what was started for it. */
export function clusterOf(driver: Driver, stop: () => Promise<void>): Cluster {
  return new Cluster(driver, async () => {
    await driver.close(CLOSE_TIMEOUT_MS);
    await stop();
  });
}

let inWorker: { cluster: Cluster; driver: Driver } | undefined;

/** Inside of an actor or a task: the cluster that it belongs to. Undefined elsewhere. */
export function currentCluster(): Cluster | undefined {
  return workerMembership()?.cluster;
}

/** The placement group that this actor or task is in (Ray: `get_current_placement_group`). Undefined in a driver, and without one. */
export async function currentPlacementGroup(options?: AbortOptions): Promise<PlacementGroup | undefined> {
  const spec = actorContext()?.spec;
  const pgId = spec?.pgId ?? taskContext()?.function.pgId;
  const membership = workerMembership();
  if (!membership || pgId === undefined) return undefined;
  return PlacementGroup.byId(membership.driver, pgId, spec?.isolation ?? "env", options);
}

/** Where the running code of an actor or a task is, and what it has. @throws WhiprayError `NOT_IN_WORKER`: a driver asks its cluster. */
export function getRuntimeContext(): RuntimeContext {
  const membership = workerMembership();
  if (membership) return runtimeContext(membership.driver);
  throw new WhiprayError({
    code: "NOT_IN_WORKER",
    message: "This code runs in no actor and no task; a driver asks cluster.runtimeContext()",
  });
}

function workerMembership(): { cluster: Cluster; driver: Driver } | undefined {
  const context = workerContext();
  if (context && !inWorker) {
    const services = { clock: systemClock, ids: randomIds(), random: systemRandom, logger: silentLogger };
    const { endpoint, head, nodeId, objects, jobId } = context;
    const driver = makeDriver(endpoint, head, nodeId, services, objects, jobId);
    driver.join(context.namespace, context.cluster);
    driver.raylet = context.raylet;
    driver.runtimeEnvs.inherited = context.runtimeEnv;
    if ("actorId" in context) driver.runtimeEnvs.claimant = context.actorId;
    if ("waits" in context) driver.waits = context.waits;
    const spec = "spec" in context ? context.spec : undefined;
    inWorker = { driver, cluster: new Cluster(driver, async () => {}, spec) };
  }
  return inWorker;
}

function inProcess(): Revive | undefined {
  const driver = workerMembership()?.driver;
  return driver && reviveCall(driver);
}

/** Refs and handles among arguments: alive in its process, with the cluster that it belongs to. */
export const actorRevive: Revive = {
  objectRef: (wire) => inProcess()?.objectRef?.(wire),
  actorHandle: (wire) => inProcess()?.actorHandle?.(wire),
};
