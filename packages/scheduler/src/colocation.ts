import { invalid, WorkerCreationError, WorkerNotFoundError } from "./errors.ts";
import type { Job, SchedulingStrategy } from "./job.ts";

/** How a job relates to its target. */
export type Colocation =
  | { readonly kind: "separate" }
  /** The target's own workers under another role name. */
  | { readonly kind: "mapped"; readonly target: string }
  /** One own process beside each worker of the target. */
  | { readonly kind: "forked"; readonly target: string }
  /** Fewer processes than the target has workers, each over a group of their devices. */
  | { readonly kind: "grouped"; readonly target: string; readonly devicesPerWorker: number };

/** What a role looks like to one that wants to share with it. */
export interface TargetRole {
  readonly workers: number;
  /** Devices of all its workers together. */
  readonly devices: number;
}

/**
 * What a job's strategy asks for (areal 6.8, 6.9).
 * @throws WorkerCreationError without a target and for counts that do not fit; WorkerNotFoundError for an unknown target.
 */
export function colocationOf(job: Job, gpu: number, findTarget: (role: string) => TargetRole | undefined): Colocation {
  const strategy: SchedulingStrategy = job.schedulingStrategy ?? { type: "separation" };
  if (strategy.type === "separation") return { kind: "separate" };
  if (strategy.type !== "colocation") {
    throw new WorkerCreationError(
      job.role,
      `schedulingStrategy.type must be separation or colocation; got ${String(strategy.type)}`,
    );
  }
  const { target, fork = true } = strategy;
  if (!target) throw new WorkerCreationError(job.role, "colocation requires target role");
  const found = findTarget(target);
  if (!found) throw new WorkerNotFoundError(target);
  if (found.workers === job.replicas) {
    if (fork && gpu > 1) {
      throw new WorkerCreationError(job.role, `a fork has at most one device, that of its target; got gpu ${gpu}`);
    }
    return { kind: fork ? "forked" : "mapped", target };
  }
  const devices = job.replicas * gpu;
  if (fork && gpu > 0 && Number.isInteger(gpu) && devices === found.devices) {
    return { kind: "grouped", target, devicesPerWorker: gpu };
  }
  throw new WorkerCreationError(
    job.role,
    `Replica count mismatch: target '${target}' has ${found.workers} workers with ${found.devices} devices, the job asks for ${job.replicas} with ${devices}`,
  );
}

/** A worker of the target with one device, where it runs. */
export interface TargetDevice {
  readonly worker: number;
  readonly nodeId: string;
}

/**
 * Neighbouring devices of each node in groups of `size`, which never cross nodes (AReaL R2: `group_colocated_gpus`). `devices` are
 * in rank order.
 * @throws SchedulerError `INVALID_ARGUMENT` when a node's devices do not divide by `size`.
 */
export function groupColocatedGpus(devices: readonly TargetDevice[], size: number): TargetDevice[][] {
  if (!Number.isSafeInteger(size) || size < 1) throw invalid(`a group has 1 device or more; got ${size}`);
  const byNode = new Map<string, TargetDevice[]>();
  for (const device of devices) byNode.set(device.nodeId, [...(byNode.get(device.nodeId) ?? []), device]);
  const groups: TargetDevice[][] = [];
  for (const [nodeId, own] of byNode) {
    if (own.length % size !== 0) {
      throw invalid(
        `node ${nodeId} has ${own.length} devices of the target, which do not divide into groups of ${size}`,
      );
    }
    for (let at = 0; at < own.length; at += size) groups.push(own.slice(at, at + size));
  }
  return groups;
}
