import { type Cluster, type InitOptions, init } from "whipray";
import { ClusterScheduler } from "./cluster-scheduler.ts";
import type { SchedulerOptions } from "./settings.ts";
import { whiprayCluster } from "./whipray-cluster.ts";

/** What the embedded node has, beside the scheduler's own options. */
export type LocalSchedulerOptions = Omit<SchedulerOptions, "nodesMayJoin"> &
  Pick<InitOptions, "numCpus" | "numGpus" | "numNpus" | "memory" | "resources" | "labels">;

/** AReaL's LocalScheduler: the same scheduler on an embedded cluster of its own, which starts with the first role and ends with it. */
export class LocalScheduler extends ClusterScheduler {
  readonly #cluster: { started: Promise<Cluster> | undefined };

  constructor(options: LocalSchedulerOptions = {}) {
    const { numCpus, numGpus, numNpus, memory, resources, labels, ...own } = options;
    const node = { numCpus, numGpus, numNpus, memory, resources, labels, logger: own.logger };
    const given = Object.fromEntries(Object.entries(node).filter(([, value]) => value !== undefined));
    const cluster: { started: Promise<Cluster> | undefined } = { started: undefined };
    super(
      async () => {
        cluster.started ??= init(given).catch((error: unknown) => {
          cluster.started = undefined;
          throw error;
        });
        return whiprayCluster(await cluster.started);
      },
      { ...own, nodesMayJoin: false },
    );
    this.#cluster = cluster;
  }

  /** Ends all roles, then the cluster. */
  override async [Symbol.asyncDispose](): Promise<void> {
    const { started } = this.#cluster;
    if (started) await super[Symbol.asyncDispose]();
    await (await started)?.close();
  }
}
