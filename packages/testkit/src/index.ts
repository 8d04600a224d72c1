export { sessionsNow, snapshot, waitUntilClean } from "./leak-check.io.ts";
export { describeLeaks, type Leak } from "./leak-check.ts";
export { networkRefusal } from "./namespaces.io.ts";
export type { Cable, Direction, NodeNetwork } from "./node-network.io.ts";
export {
  type RayletSpec,
  type RealCluster,
  type RealClusterOptions,
  type RealHead,
  type RealRaylet,
  startCluster,
} from "./real-cluster.io.ts";
export { type SimCluster, simulate } from "./sim/simulate.ts";
export { runSeed } from "./sim/workload.ts";
