import type { ResourceAmounts } from "@whipray/core";
import { NUM_RETURNS_LIMIT, type TaskLeaseAsk } from "@whipray/rpc";
import { askedUnits, checkKeys, checkName, invalid, oneOf, placementOf, whole } from "./actor-options.ts";
import type { MethodOptions } from "./actor-types.ts";
import type { BundlePlacement } from "./placement-group.ts";
import { type CheckedRuntimeEnv, checkRuntimeEnv, type RuntimeEnv } from "./runtime-env.ts";
import {
  SCHEDULING_KEYS,
  type SchedulingFields,
  type SchedulingOptions,
  schedulingFields,
} from "./scheduling-options.ts";
import type { NumReturns } from "./task-refs.ts";

/** How a task is to run (Ray: `.options()` of a remote function). `timeoutMs` counts from the call, waiting included. */
export interface TaskOptions extends MethodOptions, SchedulingOptions {
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
  /** Only nodes with accelerators of this type, as `nodes()` shows it: `H100` (Ray: accelerator_type). */
  acceleratorType?: string;
  /** A bundle of a placement group. `null` or `DEFAULT`: in none, also inside of what captures its children. */
  placement?: BundlePlacement | "DEFAULT" | null;
  /** Tasks and actors that it makes go into its group, unless they say where (Ray: placement_group_capture_child_tasks). Default false. */
  captureChildTasks?: boolean;
  /**
   * Refs that `.remote()` gives: with 2 or more a list of so many, of a function that returns a list of so many values. Of a generator
   * function `streaming` gives a ref for each item as it comes, `dynamic` one ref of the list of those refs. Default 1.
   */
  numReturns?: NumReturns;
  /** Runs beyond the first when its worker or node dies; −1 without bound. Default 3. Streams run once. */
  maxRetries?: number;
  /** Errors that it throws count as such failures too: all, or those of these class names or codes. Default false. */
  retryExceptions?: boolean | readonly string[];
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
  "acceleratorType",
  "placement",
  "captureChildTasks",
  "numReturns",
  "maxRetries",
  "retryExceptions",
  "env",
  "runtimeEnv",
  "isolation",
  ...SCHEDULING_KEYS,
  "timeoutMs",
  "signal",
]);
/** Ray: 3. */
const MAX_RETRIES = 3;

/** What a worker process must have to run a task. */
export type TaskShape = Pick<TaskLeaseAsk, "units" | "pgId" | "bundleIndex" | "env" | "isolation"> &
  SchedulingFields & { runtimeEnv?: CheckedRuntimeEnv };

/** What belongs to a function, not to its calls (Ray: not allowed in `.options()`). */
export interface TaskDefaults {
  /** Runs of it in one worker process, which ends then: for functions that leak. 0, the default, is without bound. */
  maxCalls?: number;
}

export interface CheckedTaskOptions {
  readonly shape: TaskShape;
  readonly name: string;
  readonly maxRetries: number;
  readonly retryExceptions: boolean | readonly string[];
  readonly numReturns: NumReturns;
  readonly captureChildTasks: boolean;
  readonly maxCalls: number;
}

/** @throws WhiprayError `INVALID_RESOURCES`, `INVALID_NAME`, `INVALID_ARGUMENT`. */
export function checkTaskOptions(
  options: TaskOptions,
  exportName: string,
  { maxCalls = 0 }: TaskDefaults = {},
): CheckedTaskOptions {
  checkKeys(options, KEYS, "a task");
  const { env, isolation, name, maxRetries = MAX_RETRIES, retryExceptions = false } = options;
  const placement = placementOf(options.placement);
  if (typeof retryExceptions !== "boolean" && !Array.isArray(retryExceptions))
    throw invalid(`retryExceptions must be true, false or a list of error names; got ${typeof retryExceptions}`);
  const runtimeEnv = checkRuntimeEnv(options.runtimeEnv);
  return {
    numReturns: checkReturns(options.numReturns ?? 1),
    captureChildTasks: options.captureChildTasks ?? false,
    maxCalls: whole("maxCalls", maxCalls, 0),
    shape: {
      units: { ...askedUnits(options, "the task", 1).units },
      ...(placement && { pgId: placement.groupId }),
      bundleIndex: placement?.bundleIndex ?? -1,
      env: { ...options.runtimeEnv?.envVars, ...env },
      ...(runtimeEnv && { runtimeEnv }),
      isolation: oneOf("isolation", isolation ?? placement?.isolation ?? "env", ["env", "none"]),
      ...schedulingFields(options),
    },
    name: name === undefined ? exportName : checkName("a task's name", name),
    maxRetries: whole("maxRetries", maxRetries, -1),
    retryExceptions,
  };
}

function checkReturns(numReturns: NumReturns): NumReturns {
  if (numReturns === "streaming" || numReturns === "dynamic") return numReturns;
  if (Number.isInteger(numReturns) && numReturns >= 1 && numReturns <= NUM_RETURNS_LIMIT) return numReturns;
  throw invalid(
    `numReturns must be a whole number from 1 to ${NUM_RETURNS_LIMIT}, "streaming" or "dynamic"; got ${String(numReturns).slice(0, 64)}`,
  );
}
