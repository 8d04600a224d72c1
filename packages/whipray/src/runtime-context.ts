import { toAmounts } from "@whipray/core";
import { type ActorContext, taskContext, workerContext } from "@whipray/worker";
import type { Driver } from "./driver.ts";

/** Where the running code is, and what it has (Ray: `get_runtime_context()`). Absent is what does not apply. */
export interface RuntimeContext {
  readonly jobId: string;
  readonly namespace: string;
  /** The node on which this process runs; absent for a driver beside no raylet. */
  readonly nodeId?: string;
  /** Of a worker process. */
  readonly workerId?: string;
  readonly taskId?: string;
  readonly taskName?: string;
  readonly actorId?: string;
  readonly actorName?: string;
  /** Restarts of the actor before this life. */
  readonly wasCurrentActorReconstructed?: boolean;
  readonly placementGroupId?: string;
  /** As people write them: `{ CPU: 1, GPU: 0.5 }`; of a bundle without its name. Nothing for a driver. */
  readonly assignedResources: Readonly<Record<string, number>>;
  /** Indexes of its devices on the node, by resource: `{ GPU: ["0"] }`. */
  readonly acceleratorIds: Readonly<Record<string, readonly string[]>>;
}

export function runtimeContext(driver: Driver): RuntimeContext {
  const { jobId, namespace, connection } = driver;
  const worker = workerContext();
  if (!worker) {
    const node = connection.localNode === undefined ? {} : { nodeId: connection.localNode };
    return { jobId, namespace, ...node, assignedResources: {}, acceleratorIds: {} };
  }
  const { nodeId, workerId, devices } = worker;
  const acceleratorIds: Record<string, string[]> = {};
  for (const { resource, index } of devices) {
    acceleratorIds[resource] = [...(acceleratorIds[resource] ?? []), String(index)];
  }
  return { jobId, namespace, nodeId, workerId, acceleratorIds, ...("actorId" in worker ? ofActor(worker) : ofTask()) };
}

function ofActor({ actorId, epoch, spec }: ActorContext) {
  return {
    actorId,
    ...(spec.name !== undefined && { actorName: spec.name }),
    wasCurrentActorReconstructed: epoch > 1,
    ...(spec.pgId !== undefined && { placementGroupId: spec.pgId }),
    assignedResources: toAmounts(spec.units),
  };
}

/** Between two tasks a worker has nothing. */
function ofTask() {
  const task = taskContext();
  const { units = {}, pgId } = task?.function ?? {};
  return {
    ...(task && { taskId: task.taskId, taskName: task.method }),
    ...(pgId !== undefined && { placementGroupId: pgId }),
    assignedResources: toAmounts(units),
  };
}
