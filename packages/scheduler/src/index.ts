export type { SchedulerCluster, SchedulerGroup, ServerHandle, ServerPlacement } from "./cluster.ts";
export { ClusterScheduler } from "./cluster-scheduler.ts";
export type { CallEngineOptions, CreateEngineOptions } from "./engine-calls.ts";
export type { ForkedHost } from "./engine-server.ts";
export * from "./errors.ts";
export { MASTER_PORT_TRIES, type MasterAddress } from "./fresh-port.ts";
export type {
  Job,
  RayPlacementStrategy,
  SchedulingSpec,
  SchedulingStrategy,
} from "./job.ts";
export { LocalScheduler, type LocalSchedulerOptions } from "./local-scheduler.ts";
export type { RoleWait } from "./placing.ts";
export { type ClearedTensors, type FetchOptions, RTensor, type TensorOwner } from "./r-tensor.ts";
export { RayScheduler, type RaySchedulerOptions } from "./ray-scheduler.ts";
export type { Meeting } from "./rendezvous.ts";
export { Scheduler, type TeardownReport, type WaitOptions } from "./scheduler.ts";
export type { ServerInfo, ServerStart } from "./server-start.ts";
export type { ExperimentConfig, SchedulerOptions } from "./settings.ts";
export type { RoleTeardown } from "./teardown.ts";
export { whiprayCluster } from "./whipray-cluster.ts";
export type { Worker } from "./worker.ts";
export type { WorkerHealth } from "./worker-health.ts";
