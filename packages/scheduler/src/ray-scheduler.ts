import type { Cluster } from "whipray";
import { ClusterScheduler } from "./cluster-scheduler.ts";
import type { SchedulerOptions } from "./settings.ts";
import { whiprayCluster } from "./whipray-cluster.ts";

export interface RaySchedulerOptions extends SchedulerOptions {
  /** The cluster to use; it stays open when the scheduler ends. */
  cluster: Cluster;
}

/** AReaL's RayScheduler: the workers of a job in placement groups of a cluster. */
export class RayScheduler extends ClusterScheduler {
  constructor({ cluster, ...options }: RaySchedulerOptions) {
    const port = whiprayCluster(cluster);
    super(async () => port, options);
  }
}
