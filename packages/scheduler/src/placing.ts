import type { Clock, Logger } from "@whipray/core";
import type { WaitReason } from "@whipray/rpc";
import type { SchedulerGroup } from "./cluster.ts";
import { WorkerCreationError } from "./errors.ts";

/** When a role that waits for its place is looked at: at once, then after these times, the last again and again. */
const LOOKS_AFTER_MS = [1_000, 10_000] as const;

/** Why a role is not there yet. */
export interface RoleWait {
  readonly role: string;
  readonly waitedMs: number;
  /** After this the wait is given up. */
  readonly timeoutMs: number;
  /** As the head says it (`explain()` of a group), for people: `bundle 0: 1 GPU short: node a has …`. */
  readonly text: string;
  /** The same for programs. */
  readonly reasons: readonly WaitReason[];
}

export interface PlacingOptions {
  readonly role: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Nodes may join while it waits; without, what no node can ever hold fails at once. */
  readonly nodesMayJoin: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onWaiting?: ((wait: RoleWait) => void) | undefined;
}

/**
 * Waits until the groups of a role are placed, and tells the listener and the logger what it waits for.
 * @throws WorkerCreationError at once for what no node can ever hold, where no node can join; GetTimeoutError with what is missing.
 */
export async function placed(groups: readonly SchedulerGroup[], options: PlacingOptions): Promise<void> {
  const { timeoutMs, signal } = options;
  const watching = new AbortController();
  const ready = Promise.all(groups.map((group) => group.ready({ timeoutMs, signal })));
  try {
    await orAbort(Promise.race([ready, watch(groups, options, watching.signal)]), signal);
  } finally {
    watching.abort();
    ready.catch(() => {}); // told already, or given up
  }
}

async function watch(groups: readonly SchedulerGroup[], options: PlacingOptions, ended: AbortSignal): Promise<never> {
  const { role, timeoutMs, nodesMayJoin, clock, logger, onWaiting } = options;
  const startedAtMs = clock.now();
  for (let look = 0; ; look++) {
    // What became of a group that cannot be looked at, its `ready` tells.
    const rows = await Promise.all(groups.map((group) => group.table().catch(() => undefined)));
    const reasons = rows.flatMap((row) => row?.reasons ?? []);
    const never = reasons.filter((reason) => reason.kind === "infeasible");
    if (never.length > 0 && !nodesMayJoin && !ended.aborted) {
      throw new WorkerCreationError(role, "the cluster can never hold it", texts(never), {
        details: { reasons: never },
      });
    }
    if (look > 0 && reasons.length > 0 && !ended.aborted) {
      const text = texts(reasons);
      logger.warn("a role waits for its place", { role, reasons: text });
      onWaiting?.({ role, waitedMs: clock.now() - startedAtMs, timeoutMs, text, reasons });
    }
    await pause(clock, LOOKS_AFTER_MS[Math.min(look, LOOKS_AFTER_MS.length - 1)]!, ended);
  }
}

/** Never ends when the wait is over: nobody listens any more. */
function pause(clock: Clock, waitMs: number, ended: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (ended.aborted) return;
    const timer = clock.after(waitMs, resolve);
    ended.addEventListener("abort", () => timer.cancel(), { once: true });
  });
}

function texts(reasons: readonly WaitReason[]): string {
  return reasons.map((reason) => `bundle ${reason.bundle}: ${reason.text}`).join("; ");
}

/** Whatever a cluster does with the signal, an abort ends the wait. */
function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
