import { sibling, systemClock } from "@whipray/core";
import type { Door } from "@whipray/engine";
import { type Cluster, callRaw, dialDoor, isNear, streamRaw } from "whipray";
import type { SchedulerCluster, ServerHandle, ServerPlacement } from "./cluster.ts";
import type { RpcServer } from "./rpc-server.ts";
import type { ServerStart } from "./server-start.ts";
import { splicedServer } from "./spliced-server.ts";

/** File that nodes load `RpcServer` from. */
const SERVER_MODULE = sibling("rpc-server", import.meta.url);

/** A cluster of whipray as the scheduler needs it. */
export function whiprayCluster(cluster: Cluster): SchedulerCluster {
  return {
    placementGroup: (bundles, { strategy, name, labels, links, signal }) =>
      cluster.placementGroup(bundles, {
        strategy,
        ...(name !== undefined && { name }),
        ...(labels?.some((one) => Object.keys(one).length > 0) && { labels }),
        ...(links?.includes("STRICT") && { links }),
        ...(signal && { signal }),
      }),
    server: (placement, start) => startServer(cluster, placement, start),
    nodes: () => cluster.nodes(),
  };
}

async function startServer(cluster: Cluster, placement: ServerPlacement, start: ServerStart): Promise<ServerHandle> {
  const { name, groupId, bundleIndex, cpu, devices, device, memoryBytes, resources } = placement;
  const { captureChildTasks, graceMs, runtimeEnv } = placement;
  const handle = await cluster
    .actor<RpcServer>(SERVER_MODULE, "RpcServer")
    .options({
      ...(name !== undefined && { name }),
      placement: { groupId, bundleIndex },
      numCpus: cpu,
      ...(devices > 0 && (device === "NPU" ? { numNpus: devices } : { numGpus: devices })),
      ...(memoryBytes > 0 && { memory: memoryBytes }),
      resources,
      captureChildTasks,
      graceMs,
      ...(runtimeEnv && { runtimeEnv }),
    })
    .create(start);
  const server: ServerHandle = {
    call: (method, parts, options) => callRaw(handle, method, parts, options),
    stream: (method, parts, options) => streamRaw(handle, method, parts, options),
    ready: (options) => cluster.ready(handle, options),
    row: () => cluster.actorRow(handle),
    kill: () => cluster.kill(handle),
  };
  const dialer = { near: () => isNear(handle), dial: (door: Door) => dialDoor(handle, door) };
  return splicedServer(server, dialer, systemClock);
}
