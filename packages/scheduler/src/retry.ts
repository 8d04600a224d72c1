import { WhiprayError } from "@whipray/core";

export interface RetryPolicy {
  /** Tries in all. AReaL's default: 3. */
  readonly maxRetries: number;
  /** Wait before the second try; each further one doubles it. AReaL's default: 1 000. */
  readonly retryDelayMs: number;
}

/**
 * Failures after which a call is known not to have started. Everything else ends the call: it may have run, and no call runs
 * twice (AReaL executes a failed one up to three times, areal.md 1.3).
 */
const NOT_STARTED: ReadonlySet<string> = new Set(["BUSY", "UNREACHABLE", "NO_ROUTE", "ACTOR_NOT_FOUND"]);

/** Milliseconds until the next try, or undefined when `attempt` (from 1) was the last (areal 6.16: 1 s, 2 s). Pure. */
export function nextTryMs(error: unknown, attempt: number, policy: RetryPolicy): number | undefined {
  const notStarted = error instanceof WhiprayError && error.retryable && NOT_STARTED.has(error.code);
  return notStarted && attempt < policy.maxRetries ? policy.retryDelayMs * 2 ** (attempt - 1) : undefined;
}
