import type { Environment } from "./probe.ts";

/** Variables by which numeric libraries choose their number of threads. */
export const THREAD_VARIABLES = [
  "OMP_NUM_THREADS",
  "MKL_NUM_THREADS",
  "OPENBLAS_NUM_THREADS",
  "VECLIB_MAXIMUM_THREADS",
  "NUMEXPR_NUM_THREADS",
] as const;
/** Threads when neither an environment nor a CPU count says a number. */
export const DEFAULT_THREADS = 8;

/**
 * Thread variables of a process (areal.md 1.4): the spec's environment wins over the node's, that over `cpus`, that over 8.
 * A part of a CPU counts as one; no CPUs (0 or undefined) means "not said".
 */
export function threadVariables(
  cpus: number | undefined,
  specEnvironment: Environment = {},
  nodeEnvironment: Environment = {},
): Record<string, string> {
  const threads = cpus !== undefined && cpus > 0 ? Math.max(1, Math.floor(cpus)) : DEFAULT_THREADS;
  return Object.fromEntries(
    THREAD_VARIABLES.map((name) => [name, specEnvironment[name] ?? nodeEnvironment[name] ?? String(threads)]),
  );
}
