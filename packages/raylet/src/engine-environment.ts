import { UNITS_PER_ONE, WhiprayError } from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import { checkEnvironment, OWN_PREFIX } from "./environment-names.ts";
import type { Lease } from "./ledger.ts";

export type Variables = Readonly<Record<string, string>>;

/** What device plugins know of variables. `devices` of the packages do it; a test gives what it likes. */
export interface DeviceVisibility {
  /** Variables that show a process exactly these devices. */
  variables(granted: readonly DeviceGrant[], userEnv: Variables): Record<string, string>;
  /** Names in `userEnv` that would override one of them. */
  overridden(userEnv: Variables, deviceVariables: Variables): string[];
  /** Every name that a plugin may write. */
  reserved(): string[];
  /** Resources of which a NOSET flag leaves the variables alone: what a process sees of them is the user's affair. */
  untouched(userEnv: Variables): string[];
}

export interface EngineEnvironmentAsk {
  /** Environment of the raylet. */
  readonly inherited: Variables;
  /** Folder for compile caches: one a user, outside any cluster. */
  readonly cacheDirectory: string;
  readonly threadVariables: Variables;
  /** `setWorkerEnv` and the user's spec. */
  readonly user: Variables;
  readonly granted: readonly DeviceGrant[];
  readonly isolation: "env" | "none";
  readonly visibility: DeviceVisibility;
  /** Whipray's own variables. */
  readonly own: Variables;
  readonly cwd: string;
  /** Folders of shipped packages, which come first in PYTHONPATH. */
  readonly packages?: readonly string[];
  /** Folder of the engine host, for PYTHONPATH. */
  readonly enginePythonPath: string | undefined;
}

/** Defaults that training code expects (areal.md 1.4, BASE_ENVIRONS). */
export function baseVariables(cacheDirectory: string): Record<string, string> {
  return {
    TOKENIZERS_PARALLELISM: "true",
    PYTORCH_KERNEL_CACHE_PATH: `${cacheDirectory}/torch-kernels`,
    TRITON_CACHE_DIR: `${cacheDirectory}/triton`,
    VLLM_CACHE_ROOT: `${cacheDirectory}/vllm`,
    CUDA_DEVICE_MAX_CONNECTIONS: "1",
  };
}

/**
 * The complete environment of an engine, before its interpreter starts (design.md, mechanism 9): base → inherited → thread
 * variables → user's → device variables and `WHIPRAY_*`. Pure.
 * @throws WhiprayError `INVALID_ENV` for a bad name or value, and for a device variable that the user sets otherwise than
 * granted, naming the granted devices; with isolation `none` the user's value wins.
 */
export function engineEnvironment(ask: EngineEnvironmentAsk): Record<string, string> {
  const { user, granted, visibility } = ask;
  checkEnvironment(user, "engine");
  const devices = visibility.variables(granted, user);
  const overridden = visibility.overridden(user, devices);
  if (overridden.length > 0 && ask.isolation !== "none") throw overrides(overridden, granted);
  for (const name of overridden) delete devices[name];
  return {
    ...baseVariables(ask.cacheDirectory),
    ...withoutOwn(ask.inherited),
    ...ask.threadVariables,
    ...user,
    PYTHONPATH: pythonPath(ask),
    ...devices,
    ...ask.own,
  };
}

/** Threads of numeric libraries (Ray: the CPUs that were assigned, 1 below one CPU). */
const WORKER_THREADS = "OMP_NUM_THREADS";

/**
 * What a Node worker gets beyond the raylet's environment (`inherited`), in which thread variables win over its CPUs.
 * @throws WhiprayError `INVALID_ENV`
 */
export function workerEnvironment(
  user: Variables,
  { devices: granted, units }: Pick<Lease, "devices" | "units">,
  isolation: "env" | "none",
  visibility: DeviceVisibility,
  inherited: Variables,
): Record<string, string> {
  checkEnvironment(user, "worker");
  const cpus = Math.max(1, Math.floor((units["CPU"] ?? 0) / UNITS_PER_ONE));
  const threads = inherited[WORKER_THREADS] === undefined ? { [WORKER_THREADS]: String(cpus) } : {};
  const devices = visibility.variables(granted, user);
  const overridden = visibility.overridden(user, devices);
  if (overridden.length > 0 && isolation !== "none") throw overrides(overridden, granted);
  for (const name of overridden) delete devices[name];
  return { ...threads, ...user, ...devices };
}

/**
 * `GPU=2,NPU=*`: devices that a process may see; one that two fractions share counts once, and nobody knows of those that are
 * `untouched`. Empty for none.
 */
export function deviceCounts(granted: readonly DeviceGrant[], untouched: readonly string[] = []): string {
  const known = granted.filter(({ resource }) => !untouched.includes(resource));
  const counts = Map.groupBy(known, (device) => device.resource);
  const counted = [...counts].map(
    ([resource, devices]) => `${resource}=${new Set(devices.map(({ uuid }) => uuid)).size}`,
  );
  return [...counted, ...untouched.map((resource) => `${resource}=*`)].join(",");
}

/** An environment without what is meant for the raylet alone: its tokens and addresses must not reach user code. */
export function withoutOwn(env: Variables): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith(OWN_PREFIX)));
}

/**
 * What was shipped comes first, then the user's modules, then the working directory, then what was inherited (areal.md 1.4); the host's own folder last,
 * so that nothing of ours hides a module of theirs.
 */
function pythonPath({ packages = [], user, inherited, cwd, enginePythonPath }: EngineEnvironmentAsk): string {
  const parts = [...packages, user["PYTHONPATH"] ?? "", cwd, inherited["PYTHONPATH"] ?? "", enginePythonPath ?? ""];
  return [...new Set(parts.flatMap((part) => part.split(":")).filter((part) => part !== ""))].join(":");
}

function overrides(names: readonly string[], granted: readonly DeviceGrant[]): WhiprayError {
  const ids = granted.map((device) => device.uuid);
  const shown = ids.length === 0 ? "no device was granted" : `granted are ${ids.join(", ").slice(0, 400)}`;
  return new WhiprayError({
    code: "INVALID_ENV",
    message: `${names.join(", ")} would show other devices than were granted: ${shown}; leave it out, or ask for isolation "none"`,
    details: { names: [...names], granted: ids },
  });
}
