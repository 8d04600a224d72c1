import type { WorkingCopy } from "@whipray/rpc";
import { withoutOwn } from "./engine-environment.ts";
import type { LogWriter } from "./logs.ts";
import type { Child, SpawnSpec } from "./processes.ts";
import { NODE_MARK, RAYLET_MARK } from "./runtime-directory.ts";
import type { WorkerSpec } from "./worker-hold.ts";

/** Marks a worker and what it starts, other than engines. */
export const WORKER_MARK = "WHIPRAY_WORKER_ID";

/** What the workers of one raylet are started with. */
export interface WorkerStart {
  readonly nodeId: string;
  readonly cluster: string;
  /** Incarnation of the raylet. */
  readonly incarnation: string;
  /** Node to run workers with, and its arguments before the entry file. */
  readonly nodePath: string;
  readonly nodeArgs?: readonly string[];
  /** Main file of workers. It begins its work when its standard input ends. */
  readonly workerEntry: string;
  readonly workerTokenFile: string;
  readonly rayletSocket: string;
  readonly workerSocket: (workerId: string) => string;
  readonly cwd: string;
  /** The raylet's own environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** A blank worker that was started before its raylet was up: who embeds a cluster gains that time. */
export interface EarlyWorker {
  readonly workerId: string;
  /** Takes it over, and lets it begin. @throws WhiprayError `SPAWN_FAILED` */
  adopt(log: LogWriter): Promise<Child>;
}

/** How a worker is started; `extra` is the part of its actor's environment that only a process of its own can obey. */
export function workerSpec(
  start: WorkerStart,
  workerId: string,
  extra: Readonly<Record<string, string>> = {},
): Omit<SpawnSpec, "log"> {
  const { nodeId, cluster, incarnation, nodePath, nodeArgs = [], workerEntry, cwd, env } = start;
  const own = {
    WHIPRAY_RAYLET_SOCKET: start.rayletSocket,
    WHIPRAY_TOKEN_FILE: start.workerTokenFile,
    WHIPRAY_SOCKET: start.workerSocket(workerId),
    WHIPRAY_CLUSTER: cluster,
    [WORKER_MARK]: workerId,
    [NODE_MARK]: nodeId,
    [RAYLET_MARK]: incarnation,
  };
  return { command: nodePath, args: [...nodeArgs, workerEntry], env: { ...withoutOwn(env), ...extra, ...own }, cwd };
}

/** How a worker starts in the copy of a working directory; as `wrap` says where there is none: then it may be a warm one (mechanism 12). */
export function startedIn(
  copy: WorkingCopy | undefined,
  wrap: ((spec: WorkerSpec) => WorkerSpec) | undefined,
): ((spec: WorkerSpec) => WorkerSpec) | undefined {
  if (!copy) return wrap;
  return (spec) => {
    const inside = { ...spec, cwd: copy.path };
    return wrap ? wrap(inside) : inside;
  };
}
