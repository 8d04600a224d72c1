import type { ResourceAmounts } from "@whipray/core";
import type { TaskLeaseAsk } from "@whipray/rpc";
import { askedUnits, checkKeys, checkName, oneOf, whole } from "./actor-options.ts";
import type { MethodOptions } from "./actor-types.ts";
import type { BundlePlacement } from "./placement-group.ts";
import { type CheckedRuntimeEnv, checkRuntimeEnv, type RuntimeEnv } from "./runtime-env.ts";

/** How a task is to run (Ray: `.options()` of a remote function). `timeoutMs` counts from the call, waiting included. */
export interface TaskOptions extends MethodOptions {
  /** What errors and logs call it. Default: the name of its export. */
  name?: string;
  /** CPUs while it runs. Default 1. */
  numCpus?: number;
  numGpus?: number;
  numNpus?: number;
  /** Bytes, bookkeeping only. */
  memory?: number;
  /** Custom resources. */
  resources?: ResourceAmounts;
  /** A bundle of a placement group. */
  placement?: BundlePlacement;
  /** Runs beyond the first when its worker or node dies; −1 without bound. Default 3. Streams run once. */
  maxRetries?: number;
  /** Errors that it throws count as such failures too. Default false. */
  retryExceptions?: boolean;
  /** Environment of the process, set before the module is imported. */
  env?: Readonly<Record<string, string>>;
  /** What the node makes before its worker starts. Default: that of the actor or task that calls it. */
  runtimeEnv?: RuntimeEnv;
  /** `none`: device variables are the caller's business. Default `env`, or what its placement group says. */
  isolation?: "env" | "none";
}

const KEYS: ReadonlySet<string> = new Set([
  "name",
  "numCpus",
  "numGpus",
  "numNpus",
  "memory",
  "resources",
  "placement",
  "maxRetries",
  "retryExceptions",
  "env",
  "runtimeEnv",
  "isolation",
  "timeoutMs",
  "signal",
]);
/** Ray: 3. */
const MAX_RETRIES = 3;

/** What a worker process must have to run a task. */
export type TaskShape = Pick<TaskLeaseAsk, "units" | "pgId" | "bundleIndex" | "env" | "isolation"> & {
  runtimeEnv?: CheckedRuntimeEnv;
};

export interface CheckedTaskOptions {
  readonly shape: TaskShape;
  readonly name: string;
  readonly maxRetries: number;
  readonly retryExceptions: boolean;
}

/** @throws WhiprayError `INVALID_RESOURCES`, `INVALID_NAME`, `INVALID_ARGUMENT`. */
export function checkTaskOptions(options: TaskOptions, exportName: string): CheckedTaskOptions {
  checkKeys(options, KEYS, "a task");
  const { placement, env, isolation, name, maxRetries = MAX_RETRIES } = options;
  const runtimeEnv = checkRuntimeEnv(options.runtimeEnv);
  return {
    shape: {
      units: { ...askedUnits(options, "the task", 1).units },
      ...(placement && { pgId: placement.groupId }),
      bundleIndex: placement?.bundleIndex ?? -1,
      env: { ...options.runtimeEnv?.envVars, ...env },
      ...(runtimeEnv && { runtimeEnv }),
      isolation: oneOf("isolation", isolation ?? placement?.isolation ?? "env", ["env", "none"]),
    },
    name: name === undefined ? exportName : checkName("a task's name", name),
    maxRetries: whole("maxRetries", maxRetries, -1),
    retryExceptions: options.retryExceptions ?? false,
  };
}
