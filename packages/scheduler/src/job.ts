import type { LinkRule } from "@whipray/core";
import type { Strategy } from "@whipray/rpc";
import type { RuntimeEnv } from "whipray";
import { invalid, WorkerCreationError } from "./errors.ts";
import { SERVER_BACKENDS, type ServerBackend } from "./server-nodes.ts";

/** How the bundles of a role are cut (AReaL R1), and `node`: one bundle a node (R2). */
export const PLACEMENTS = ["shared", "separate", "deferred", "node"] as const;
export type RayPlacementStrategy = (typeof PLACEMENTS)[number];

const LINK_RULES: readonly LinkRule[] = ["ANY", "STRICT"];

/** What one worker needs (AReaL: SchedulingSpec). All fields have AReaL's defaults. */
export interface SchedulingSpec {
  /** CPUs. Default 8. */
  cpu?: number;
  /** GPUs or NPUs, whichever the cluster has. Default 0. */
  gpu?: number;
  /** Memory in GiB. Default 32. */
  mem?: number;
  /** Ports of `workerPorts`, the first of which stands for RPC. Default 2. */
  portCount?: number;
  /** `worker` or `engine`; AReaL's word, carried for its controllers. Default `worker`. */
  taskType?: "worker" | "engine";
  /** Environment of the Python engine; reaches its interpreter at start. */
  envVars?: Readonly<Record<string, string>>;
  /** What the node makes before the worker and its engine start; `envVars`, `python` and `cwd` of this spec win. */
  runtimeEnv?: RuntimeEnv;
  /** Python module that is run instead of the engine host: `python -m <cmd>`. It must run the host itself. */
  cmd?: string;
  /**
   * `shared` (default): one group a role, one bundle a worker, 0.9 of its device, so that forks of 0.01 fit in. `separate`: one
   * group a worker, whole devices. `deferred`: one group a worker, devices left to the engine, which
   * takes its bundle whole when it starts. `node`: one group a role, one bundle a node.
   */
  rayPlacementStrategy?: RayPlacementStrategy;
  /**
   * Kind of server that `launch_server` launches on an instance over several nodes (placement `node` or `deferred`). Default: what the engine's import
   * path names.
   */
  serverBackend?: ServerBackend;
  /** Python module of such a server on its further nodes. Default: the back end's own. */
  serverModule?: string;
  /** Strategy of the placement groups. Default PACK. */
  strategy?: Strategy;
  /**
   * `STRICT`: all devices of a worker are of one link domain (NVLink, HCCS, …); with placement `node`, all of a bundle. Default `ANY`: those that are
   * linked best.
   */
  links?: LinkRule;
  /** Python interpreter; the raylet's default when absent. */
  python?: string;
  /** Working directory of the engine; the raylet's default when absent. */
  cwd?: string;
  /** The engine gets a pseudo-terminal to attach to. Default false. */
  pty?: boolean;
  /** Labels that its node must have. */
  labels?: Readonly<Record<string, string>>;
  /** Custom resources of each worker. */
  resources?: Readonly<Record<string, number>>;
  /** Time between SIGTERM and SIGKILL of the engine. Default 5 000. */
  graceMs?: number;
}

/** Where the workers of a role go (AReaL: SchedulingStrategy). */
export interface SchedulingStrategy {
  type: "separation" | "colocation";
  /** Role to share with; needed for colocation. */
  target?: string;
  /** With colocation: own processes on the target's devices (default), or the target's own workers. */
  fork?: boolean;
}

/** Workers to create (AReaL: Job). */
export interface Job {
  role: string;
  replicas: number;
  /** One spec for all, or one a replica. */
  tasks: readonly SchedulingSpec[];
  schedulingStrategy?: SchedulingStrategy;
}

/** A spec with its defaults. */
type Optional = "runtimeEnv" | "cmd" | "python" | "cwd" | "serverBackend" | "serverModule";
export type FullSpec = Required<Omit<SchedulingSpec, Optional>> & Pick<SchedulingSpec, Optional>;

const DEFAULTS = {
  cpu: 8,
  gpu: 0,
  mem: 32,
  portCount: 2,
  taskType: "worker",
  envVars: {},
  rayPlacementStrategy: "shared",
  strategy: "PACK",
  links: "ANY",
  pty: false,
  labels: {},
  resources: {},
  graceMs: 5_000,
} as const satisfies Required<Omit<SchedulingSpec, Optional>>;

/** Fields that a job and its parts may have. */
const KNOWN = {
  job: ["role", "replicas", "tasks", "schedulingStrategy"],
  spec: [...Object.keys(DEFAULTS), "runtimeEnv", "cmd", "python", "cwd", "serverBackend", "serverModule"],
  schedulingStrategy: ["type", "target", "fork"],
} as const;

export const REPLICAS_LIMIT = 10_000;
export const PORT_COUNT_LIMIT = 256;
/** Names of roles: parts of actors' names and of logs' file names. */
export const ROLE = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/**
 * The specs of all replicas, with defaults (areal 6.2, 6.4, 6.8).
 * @throws WorkerCreationError for a number of specs that fits no number of replicas, no replicas, a bad role.
 */
export function specsOf(job: Job): FullSpec[] {
  if (typeof job !== "object" || job === null) throw invalid("a job is a map of role, replicas and tasks");
  const { role, replicas, tasks, schedulingStrategy } = job;
  if (typeof role !== "string" || !ROLE.test(role)) {
    throw new WorkerCreationError(
      String(role).slice(0, 64),
      "a role has 1 to 64 letters, digits, _ . or -, and no ':' or '/'",
    );
  }
  checkFields(role, "job", job);
  if (schedulingStrategy) checkFields(role, "schedulingStrategy", schedulingStrategy);
  if (!Number.isSafeInteger(replicas) || replicas <= 0) {
    throw new WorkerCreationError(role, `replicas must be greater than 0; got ${replicas}`);
  }
  if (replicas > REPLICAS_LIMIT) {
    throw new WorkerCreationError(role, `replicas must be at most ${REPLICAS_LIMIT}; got ${replicas}`);
  }
  if (!Array.isArray(tasks) || tasks.length === 0) throw new WorkerCreationError(role, "No scheduling specs (tasks)");
  if (tasks.length !== 1 && tasks.length !== replicas) {
    throw new WorkerCreationError(
      role,
      `the number of tasks must be 1 or match replicas: ${tasks.length} tasks, ${replicas} replicas`,
    );
  }
  const specs = (tasks as readonly SchedulingSpec[]).map((task) => fullSpec(role, task));
  return specs.length === 1 ? Array.from({ length: replicas }, () => specs[0]!) : specs;
}

/** A field that nobody knows is a mistake: it would be forgotten in silence. */
function checkFields(role: string, what: keyof typeof KNOWN, given: object): void {
  const known: readonly string[] = KNOWN[what];
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue;
    const camel = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const meant = known.includes(camel) ? `; write ${camel}` : `; there are ${known.join(", ")}`;
    throw new WorkerCreationError(role, `${what} has no field '${name.slice(0, 80)}'${meant}`);
  }
}

function fullSpec(role: string, task: SchedulingSpec): FullSpec {
  if (typeof task !== "object" || task === null) throw new WorkerCreationError(role, "each of tasks is a map");
  checkFields(role, "spec", task);
  const given = Object.fromEntries(Object.entries(task).filter(([, value]) => value !== undefined && value !== null));
  const variables = { ...task.runtimeEnv?.envVars, ...task.envVars };
  const spec = { ...DEFAULTS, ...given, ...(task.runtimeEnv?.envVars && { envVars: variables }) } as FullSpec;
  for (const key of ["cpu", "gpu", "mem", "graceMs"] as const) {
    if (typeof spec[key] !== "number" || !Number.isFinite(spec[key]) || spec[key] < 0) {
      throw new WorkerCreationError(role, `${key} must be a number of 0 or more; got ${spec[key]}`);
    }
  }
  if (!Number.isSafeInteger(spec.portCount) || spec.portCount < 0 || spec.portCount > PORT_COUNT_LIMIT) {
    throw new WorkerCreationError(role, `portCount must be from 0 to ${PORT_COUNT_LIMIT}; got ${spec.portCount}`);
  }
  if (!PLACEMENTS.includes(spec.rayPlacementStrategy)) {
    throw new WorkerCreationError(
      role,
      `rayPlacementStrategy must be one of ${PLACEMENTS.join(", ")}; got ${spec.rayPlacementStrategy}`,
    );
  }
  if (!LINK_RULES.includes(spec.links)) {
    throw new WorkerCreationError(role, `links must be one of ${LINK_RULES.join(", ")}; got ${spec.links}`);
  }
  if (spec.serverBackend !== undefined && !SERVER_BACKENDS.includes(spec.serverBackend)) {
    throw new WorkerCreationError(
      role,
      `serverBackend must be one of ${SERVER_BACKENDS.join(", ")}; got ${spec.serverBackend}`,
    );
  }
  if (spec.cmd !== undefined && /(^|\s)--port(=|\s|$)/.test(spec.cmd)) {
    throw new WorkerCreationError(role, "cmd should not include --port: ports are leased");
  }
  if (spec.python !== undefined && (spec.runtimeEnv?.pip ?? spec.runtimeEnv?.uv) !== undefined) {
    throw new WorkerCreationError(role, "python and runtimeEnv.pip or uv: say pyExecutable in runtimeEnv instead");
  }
  checkEnv(spec.envVars);
  checkEnv(spec.labels, "labels");
  return spec;
}

/** @throws SchedulerError `INVALID_ARGUMENT` for anything but a map of texts (areal 6.17). Values may hold `=` and `,`. */
export function checkEnv(env: unknown, what = "env"): asserts env is Readonly<Record<string, string>> {
  if (typeof env !== "object" || env === null || Array.isArray(env)) {
    throw invalid(`${what} must be a map of names to texts; got ${env === null ? "null" : typeof env}`);
  }
  for (const [name, value] of Object.entries(env)) {
    if (typeof value !== "string") {
      throw invalid(`${what} ${JSON.stringify(name.slice(0, 80))} must be text; got ${typeof value}`, {
        name: name.slice(0, 80),
      });
    }
  }
}
