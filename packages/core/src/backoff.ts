import type { RandomSource } from "./random.ts";

/** How waits between tries grow. */
export interface BackoffPolicy {
  firstMs: number;
  /** Each wait is the one before times this. Default 2. */
  factor?: number;
  maxMs: number;
  /** Share of each wait that is random, 0 to 1, so that many clients do not come back at once. Default 0.2. */
  jitter?: number;
}

/** Wait before try number `attempt` (1 is the first retry), in milliseconds. Pure but for `random`. */
export function backoffMs(policy: BackoffPolicy, attempt: number, random: RandomSource): number {
  const factor = policy.factor ?? 2;
  const jitter = policy.jitter ?? 0.2;
  const baseMs = Math.min(policy.maxMs, policy.firstMs * factor ** Math.max(0, attempt - 1));
  return baseMs * (1 - jitter + jitter * random.next());
}
