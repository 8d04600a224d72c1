import {
  type AbortOptions,
  addUnits,
  isEmpty,
  type LinkRule,
  type ResourceAmounts,
  type ResourceUnits,
  toProcessUnits,
  toUnits,
  WhiprayError,
} from "@whipray/core";
import type { ActorSpec } from "@whipray/rpc";
import type { MethodDefaults, MethodName } from "./actor-types.ts";
import { methodRules } from "./method-rules.ts";
import type { BundlePlacement } from "./placement-group.ts";
import type { RuntimeEnv } from "./runtime-env.ts";
import { SCHEDULING_KEYS, type SchedulingOptions, schedulingFields } from "./scheduling-options.ts";

/** How an actor is to be made (Ray: `.options()` of an actor class); `T` is its interface. */
export interface ActorOptions<T = object> extends AbortOptions, SchedulingOptions {
  /** Unique in its namespace; `cluster.getActor(name)` finds it. */
  name?: string;
  namespace?: string;
  /** With `name`: an actor of this name that lives is given instead of an error. */
  getIfExists?: boolean;
  /** `detached` outlives its job. Default: ends with the job. */
  lifetime?: "detached";
  /** CPUs. With no resource given at all: 1 to be placed, 0 while it runs (Ray). With any given: 1 for life unless said. */
  numCpus?: number;
  numGpus?: number;
  numNpus?: number;
  /** Bytes, bookkeeping only. */
  memory?: number;
  /** Custom resources. */
  resources?: ResourceAmounts;
  /** Only nodes with accelerators of this type, as `nodes()` shows it: `H100` (Ray: accelerator_type). */
  acceleratorType?: string;
  /** A bundle of a placement group. `null` or `DEFAULT`: in none, also inside an actor that captures its children. */
  placement?: BundlePlacement | "DEFAULT" | null;
  /**
   * Actors that it makes go into its group, any bundle, and capture theirs in turn, unless they name a `placement` or `nodeAffinity`
   * themselves (Ray: placement_group_capture_child_tasks). Default false; of captured ones, true.
   */
  captureChildTasks?: boolean;
  /** Restarts after a crash; −1 without bound. Default 0. */
  maxRestarts?: number;
  /** Executions that a call may have beyond the first when the actor dies under it. Default 0: at most once. */
  maxTaskRetries?: number;
  /** Calls at once, beside those of concurrency groups; default 1, or 1 000 for classes with async methods (Ray). */
  maxConcurrency?: number;
  /** Named pools with their own number of calls at once, such as `{ io: 2 }`; `methods` says whose they are (Ray: concurrency_groups). */
  concurrencyGroups?: Readonly<Record<string, number>>;
  /** What holds for all calls of a method unless a call says otherwise (Ray: `@ray.method`). */
  methods?: { readonly [K in MethodName<T>]?: MethodDefaults };
  /** Calls without an answer that one handle may have: one more is `PendingCallsLimitExceeded`. Default −1: no bound (Ray). */
  maxPendingCalls?: number;
  /** Environment of the process, set before the module is imported. */
  env?: Readonly<Record<string, string>>;
  /** What its node makes before it starts. Default: that of the actor or task that makes it. */
  runtimeEnv?: RuntimeEnv;
  /** `none`: device variables are the caller's business. Default `env`, or what its placement group says. */
  isolation?: "env" | "none";
  /** `STRICT`: all its devices in one link domain (NVLink, HCCS, …), or it waits. Default `ANY`: as near as they can be. */
  links?: LinkRule;
  /**
   * With restarts: ends at once where its node can reach neither the head nor another raylet, 6 to 8 s after the last beat, so that it
   * never runs twice. Default false: it goes on there, and calls of the older epoch are refused (design.md, mechanism 5).
   */
  fence?: boolean;
  /** Time for its own clean-up at the end, milliseconds. Default 5 000. */
  graceMs?: number;
}

const KEYS: ReadonlySet<string> = new Set([
  "name",
  "namespace",
  "getIfExists",
  "lifetime",
  "numCpus",
  "numGpus",
  "numNpus",
  "memory",
  "resources",
  "acceleratorType",
  "placement",
  "captureChildTasks",
  "maxRestarts",
  "maxTaskRetries",
  "maxConcurrency",
  "concurrencyGroups",
  "methods",
  "maxPendingCalls",
  "env",
  "runtimeEnv",
  "isolation",
  "links",
  "fence",
  ...SCHEDULING_KEYS,
  "graceMs",
  "signal",
]);
const NAME_PATTERN = /^[A-Za-z0-9._-]{1,128}$/;

/** @throws WhiprayError `INVALID_ARGUMENT` for a key that is none, naming the valid ones (Ray: ValueError). */
export function checkKeys(options: object, valid: ReadonlySet<string>, what: string): void {
  for (const key of Object.keys(options)) {
    if (!valid.has(key))
      throw invalid(`${key.slice(0, 64)} is no option of ${what}; valid are ${[...valid].join(", ")}`);
  }
}

export function checkOptionKeys(options: object): void {
  checkKeys(options, KEYS, "an actor");
}

/** Resources as people ask for them. */
export interface AskedResources {
  readonly numCpus?: number;
  readonly numGpus?: number;
  readonly numNpus?: number;
  readonly memory?: number;
  readonly resources?: ResourceAmounts;
  readonly acceleratorType?: string;
}

/** What a process takes of `accelerator_type:<T>`, of which a node has one (Ray: at most 1 000 a node). */
const TYPE_SHARE = 0.001;

/**
 * The sum of all that was asked for, and whether that is nothing at all, when `cpus` are its CPUs.
 * @throws WhiprayError `INVALID_RESOURCES`, `INVALID_ARGUMENT`.
 */
export function askedUnits(
  options: AskedResources,
  what: string,
  cpus: number,
): { units: ResourceUnits; nothing: boolean } {
  const { numCpus, numGpus, numNpus, memory, resources = {}, acceleratorType } = options;
  for (const reserved of ["CPU", "GPU", "NPU", "memory"]) {
    if (Object.hasOwn(resources, reserved))
      throw invalid(`resources.${reserved}: use numCpus, numGpus, numNpus or memory`);
  }
  const asked = { numGpus, numNpus, memory, numCpus };
  const nothing = Object.values(asked).every((value) => value === undefined) && Object.keys(resources).length === 0;
  const amounts = {
    ...resources,
    ...(acceleratorType !== undefined && { [`accelerator_type:${acceleratorType}`]: TYPE_SHARE }),
    CPU: numCpus ?? (nothing ? cpus : 1),
    ...(numGpus !== undefined && { GPU: numGpus }),
    ...(numNpus !== undefined && { NPU: numNpus }),
    ...(memory !== undefined && { memory }),
  };
  return { units: toProcessUnits(amounts, `resources of ${what}`), nothing };
}

/** @throws WhiprayError `INVALID_NAME` (reliability B24). */
export function checkName(what: string, name: string): string {
  if (typeof name !== "string" || !NAME_PATTERN.test(name)) {
    throw new WhiprayError({
      code: "INVALID_NAME",
      message: `${what} must be 1 to 128 of letters, digits, dot, underscore and hyphen; got ${JSON.stringify(String(name).slice(0, 64))}`,
    });
  }
  return name;
}

/** Who makes an actor or a task, when it is in a group itself. */
export interface Maker {
  readonly captureChildTasks?: boolean | undefined;
  readonly pgId?: string | undefined;
  readonly isolation?: ActorSpec["isolation"];
}

/** The options of what is made inside of `maker`: in its group when that captures its children. */
export function capturedOptions<O extends Pick<ActorOptions, "placement" | "nodeAffinity" | "captureChildTasks">>(
  options: O,
  maker: Maker | undefined,
): O {
  if (!maker?.captureChildTasks || maker.pgId === undefined) return options;
  if (options.placement !== undefined || options.nodeAffinity) return options;
  const placement = { groupId: maker.pgId, bundleIndex: -1, isolation: maker.isolation ?? "env" };
  return { ...options, placement, captureChildTasks: options.captureChildTasks ?? true };
}

/** The options as the head takes them. @throws WhiprayError `INVALID_RESOURCES`, `INVALID_NAME`, `INVALID_ARGUMENT`. */
export function specOptions(
  options: ActorOptions,
  namespace: string,
): Omit<ActorSpec, "actorId" | "jobId" | "className" | "module" | "exportName" | "codeHash" | "args" | "ownerActor"> {
  checkOptionKeys(options);
  const placement = placementOf(options.placement);
  if (options.getIfExists && options.name === undefined) throw invalid("getIfExists needs a name");
  const { units, nothing } = askedUnits(options, "the actor", 0);
  return {
    ...(options.name !== undefined && { name: checkName("an actor's name", options.name) }),
    namespace: checkName("a namespace", options.namespace ?? namespace),
    detached: options.lifetime === "detached",
    units,
    placementUnits: isEmpty(units) && nothing ? addUnits(units, toUnits({ CPU: 1 })) : units,
    ...(placement && { pgId: placement.groupId }),
    bundleIndex: placement?.bundleIndex ?? -1,
    captureChildTasks: options.captureChildTasks ?? false,
    maxRestarts: whole("maxRestarts", options.maxRestarts ?? 0, -1),
    maxTaskRetries: whole("maxTaskRetries", options.maxTaskRetries ?? 0, -1),
    maxConcurrency: whole("maxConcurrency", options.maxConcurrency ?? 0, 0),
    maxPendingCalls: whole("maxPendingCalls", options.maxPendingCalls ?? -1, -1),
    ...(options.concurrencyGroups && { concurrencyGroups: groupLimits(options.concurrencyGroups) }),
    ...(options.methods && { methods: methodRules(options.methods) }),
    env: { ...options.runtimeEnv?.envVars, ...options.env },
    isolation: oneOf("isolation", options.isolation ?? placement?.isolation ?? "env", ["env", "none"]),
    ...(options.links && { links: oneOf("links", options.links, ["ANY", "STRICT"]) }),
    ...(options.fence !== undefined && { fence: options.fence }),
    ...schedulingFields(options),
    graceMs: whole("graceMs", options.graceMs ?? 5_000, 0),
  };
}

function groupLimits(groups: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(groups).map(([name, limit]) => {
      checkName("a concurrency group's name", name);
      return [name, whole(`concurrencyGroups.${name}`, limit, 1)];
    }),
  );
}

/** @throws WhiprayError `INVALID_ARGUMENT` for what is no bundle. */
export function placementOf(placement: ActorOptions["placement"]): BundlePlacement | undefined {
  if (placement === undefined || placement === null || placement === "DEFAULT") return undefined;
  if (typeof placement === "object" && typeof placement.groupId === "string") return placement;
  throw invalid('placement must be a bundle such as group.bundle(0), null or "DEFAULT"');
}

/** @throws WhiprayError `INVALID_ARGUMENT` naming the choices. */
export function oneOf<T extends string>(name: string, value: T, choices: readonly NoInfer<T>[]): T {
  if (!choices.includes(value))
    throw invalid(`${name} must be ${choices.join(" or ")}; got ${String(value).slice(0, 64)}`);
  return value;
}

/** @throws WhiprayError `INVALID_ARGUMENT` for what is no whole number of `min` or more. */
export function whole(name: string, value: number, min: number): number {
  if (!Number.isSafeInteger(value) || value < min)
    throw invalid(`${name} must be a whole number of ${min} or more; got ${value}`);
  return value;
}

export function invalid(message: string): WhiprayError {
  return new WhiprayError({ code: "INVALID_ARGUMENT", message });
}
