import { type Clock, type Logger, silentLogger, systemClock } from "@whipray/core";
import { invalid } from "./errors.ts";
import type { RoleWait } from "./placing.ts";

/** What AReaL's experiment configuration says of a scheduler; it wins over the options beside it (areal 6.26). */
export interface ExperimentConfig {
  experimentName?: string;
  trialName?: string;
  nGpusPerNode?: number;
}

export interface SchedulerOptions {
  config?: ExperimentConfig;
  /** Part of the names of actors and groups, so that two experiments in one namespace do not collide. */
  experimentName?: string;
  trialName?: string;
  /** Devices of one node. Default: the most that a node of the cluster has, else 8. */
  nGpusPerNode?: number;
  /**
   * Whether nodes may still join while a role waits for its place. If not, what no node can ever hold fails at once instead of with the
   * time. Default true; never in a LocalScheduler.
   */
  nodesMayJoin?: boolean;
  /** Time in which a role must be placed, and the default of `getWorkers`. Default 300 000. */
  startupTimeoutMs?: number;
  /** Time in which a Python engine host must have connected. Default 60 000. */
  engineStartTimeoutMs?: number;
  /** Time of the engines' own `destroy` at the end. Default 30 000. */
  destroyTimeoutMs?: number;
  /**
   * Told why a role waits for its place, when it has waited for 1 s, then for 11 s, then every 10 s: for a progress line. What it throws
   * fails the role. Without it the reasons are in the logger's lines, in `whipray status` and `events`, and in the error at the end.
   */
  onWaiting?: (wait: RoleWait) => void;
  clock?: Clock;
  logger?: Logger;
}

export interface Settings {
  readonly namePrefix: string;
  readonly nGpusPerNode: number | undefined;
  readonly nodesMayJoin: boolean;
  readonly startupTimeoutMs: number;
  readonly engineStartTimeoutMs: number;
  readonly destroyTimeoutMs: number;
  readonly onWaiting: ((wait: RoleWait) => void) | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

const NAME = /^[A-Za-z0-9_-]{1,40}$/;

/** Options with defaults, checked. @throws SchedulerError `INVALID_ARGUMENT`. */
export function settingsOf(options: SchedulerOptions): Settings {
  const { config, clock = systemClock, logger = silentLogger } = options;
  const names = [config?.experimentName ?? options.experimentName, config?.trialName ?? options.trialName].filter(
    (name) => name !== undefined,
  );
  for (const name of names) {
    if (!NAME.test(name))
      throw invalid(
        `experimentName and trialName have 1 to 40 letters, digits, _ or -; got ${JSON.stringify(String(name).slice(0, 60))}`,
      );
  }
  const nGpusPerNode = config?.nGpusPerNode ?? options.nGpusPerNode;
  if (nGpusPerNode !== undefined && (!Number.isSafeInteger(nGpusPerNode) || nGpusPerNode < 1)) {
    throw invalid(`nGpusPerNode must be a whole number of 1 or more; got ${nGpusPerNode}`);
  }
  return {
    namePrefix: names.map((name) => `${name}.`).join(""),
    nGpusPerNode,
    nodesMayJoin: options.nodesMayJoin ?? true,
    startupTimeoutMs: positive("startupTimeoutMs", options.startupTimeoutMs ?? 300_000),
    engineStartTimeoutMs: positive("engineStartTimeoutMs", options.engineStartTimeoutMs ?? 60_000),
    destroyTimeoutMs: positive("destroyTimeoutMs", options.destroyTimeoutMs ?? 30_000),
    onWaiting: options.onWaiting,
    clock,
    logger,
  };
}

function positive(name: string, value: number): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) {
    throw invalid(`${name} must be a number of milliseconds above 0; got ${value}`);
  }
  return value;
}
