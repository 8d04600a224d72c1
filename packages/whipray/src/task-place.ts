import {
  asWhiprayError,
  covers,
  delay,
  TaskPlacementGroupRemoved,
  TaskUnschedulableError,
  WhiprayError,
} from "@whipray/core";
import {
  groupWait,
  type NodeRow,
  nodesList,
  ownPidNamespace,
  type Peer,
  type TaskElsewhere,
  type TaskLease,
  type TaskLeaseAnswer,
  type TaskLeaseAsk,
  taskLease,
  taskRelease,
} from "@whipray/rpc";
import type { Driver } from "./driver.ts";
import type { TaskShape } from "./task-options.ts";

/** Between two tries of a request that failed. */
export const LEASE_RETRY_MS = 200;
/** Longest wait for a raylet that grants at once or refuses: the start of a worker is in it. */
const PASSED_ON_LIMIT_MS = 15_000;
/** Failures that another try may not meet, beside those that say so. */
const PASSING = new Set([
  "WORKER_START_FAILED",
  "UNREACHABLE",
  "OUTCOME_UNKNOWN",
  "DEADLINE_EXCEEDED",
  "NODE_LEAVING",
  "NODE_DIED",
  "GOODBYE",
]);

/** A raylet that is asked for workers. */
export interface TaskPlace {
  readonly raylet: Peer;
  readonly nodeId: string;
  /** URL of the raylet, when others can dial it. */
  readonly url: string | undefined;
}

/**
 * The raylet that is asked first for workers of this shape: that of the caller's own machine, which may pass the request on; for a bundle that
 * of the node where it lies. Waits for a group that is not placed yet. @throws TaskPlacementGroupRemoved; WhiprayError `NO_NODE`.
 */
export async function taskPlace(driver: Driver, shape: TaskShape): Promise<TaskPlace> {
  const { raylet, connection } = driver;
  const local = connection.localNode;
  const here = raylet && !raylet.closed && local !== undefined ? { raylet, nodeId: local, url: undefined } : undefined;
  if (shape.pgId === undefined && here) return here;
  const nodeId = shape.pgId === undefined ? undefined : await bundleNode(driver, shape.pgId, shape);
  const { nodes } = await driver.ask(nodesList, {});
  const alive = nodes.filter(({ state }) => state === "ALIVE");
  const chosen = nodeId === undefined ? (alive.find(isHere) ?? alive[0]) : alive.find((node) => node.nodeId === nodeId);
  if (!chosen) throw new WhiprayError({ code: "NO_NODE", message: "No node is alive for the task", retryable: true });
  return reach(driver, chosen);
}

/** A worker from `first`, or from the raylet that it names. `asked` hears which one has the request now. */
export async function leaseWorker(
  driver: Driver,
  first: TaskPlace,
  request: Omit<TaskLeaseAsk, "passedOn">,
  signal: AbortSignal,
  asked: (place: TaskPlace) => void,
): Promise<{ lease: TaskLease; place: TaskPlace }> {
  let place = first;
  let passedOn = false;
  for (;;) {
    asked(place);
    signal.throwIfAborted();
    let answer: TaskLeaseAnswer;
    try {
      answer = await ask(place, { ...request, passedOn }, signal);
    } catch (thrown) {
      const error = asWhiprayError(thrown);
      if (place === first || !mayPass(error)) throw error;
      // The first one knows others, or lets it wait; of one that is out of reach it hears soon.
      if (error.code !== "NODE_BUSY") {
        giveBack(place, request.leaseId);
        await delay(driver.connection.clock, LEASE_RETRY_MS);
      }
      answer = {};
    }
    if (answer.lease) return { lease: answer.lease, place };
    passedOn = answer.elsewhere?.wait === false;
    place = answer.elsewhere ? await reach(driver, answer.elsewhere) : first;
  }
}

/** A grant may have crossed the cancel of a request that took too long: nobody else would end that lease. */
function giveBack({ raylet }: TaskPlace, leaseId: string): void {
  raylet.invoke(taskRelease, { leaseId }).catch(() => {}); // with its raylet gone the lease is too
}

function ask({ raylet }: TaskPlace, request: TaskLeaseAsk, signal: AbortSignal): Promise<TaskLeaseAnswer> {
  const limit = request.passedOn ? { timeoutMs: PASSED_ON_LIMIT_MS } : {};
  return raylet.invoke(taskLease, request, { signal, ...limit });
}

/** Whether another try may not meet this failure. */
export function mayPass({ retryable, code }: WhiprayError): boolean {
  return retryable || PASSING.has(code);
}

async function reach(driver: Driver, node: Omit<TaskElsewhere, "wait">): Promise<TaskPlace> {
  const { nodeId, url } = node;
  const { raylet, connection } = driver;
  const address = `${nodeId}/raylet`;
  if (raylet?.address === address && !raylet.closed) return { raylet, nodeId, url };
  if (isHere(node)) {
    const target = { to: address, url: `unix:${node.socket}`, purpose: "control" } as const;
    return { raylet: connection.endpoint.connect(target), nodeId, url };
  }
  return { raylet: await driver.reach({ address, nodeId, url }), nodeId, url };
}

function isHere({ socket, pidNamespace }: Pick<NodeRow, "socket" | "pidNamespace">): boolean {
  return socket !== undefined && pidNamespace === ownPidNamespace();
}

async function bundleNode(
  driver: Driver,
  pgId: string,
  { bundleIndex, units }: TaskShape,
): Promise<string | undefined> {
  const { group } = await driver.ask(groupWait, { pgId }).catch((error: unknown) => {
    throw removed(asWhiprayError(error));
  });
  const bundles = bundleIndex === -1 ? group.bundles : group.bundles.filter(({ index }) => index === bundleIndex);
  const bundle = bundles.find((one) => covers(one.units, units)) ?? bundles[0];
  if (bundle?.nodeId === undefined || !covers(bundle.units, units)) {
    throw new TaskUnschedulableError({
      message: `No bundle ${bundleIndex === -1 ? "" : `${bundleIndex} `}of ${pgId} can hold the task`,
      details: { pgId, bundleIndex, units },
    });
  }
  return bundle.nodeId;
}

function removed(error: WhiprayError): WhiprayError {
  if (error.code !== "PLACEMENT_GROUP_REMOVED") return error;
  return new TaskPlacementGroupRemoved({ message: `The task did not run: ${error.message}`, details: error.details });
}
