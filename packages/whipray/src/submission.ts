import { type Clock, TaskCancelledError, WhiprayError } from "@whipray/core";
import type { CallOptions, Parts } from "@whipray/rpc";
import type { ActorMethodOptions } from "./actor-types.ts";

export type SubmitOptions = CallOptions &
  Pick<ActorMethodOptions, "concurrencyGroup" | "maxTaskRetries" | "retryExceptions">;

/** A call of an actor, and who waits for it. */
export interface Submission {
  readonly method: string;
  readonly parts: Parts;
  readonly options: SubmitOptions;
  /** Executions that may still be risked beyond the first (Ray: max_task_retries; −1 = no bound). NaN: not looked up yet. */
  retries: number;
  /** Class names of errors that are a reason for one; `*` is any. */
  retryOn?: readonly string[] | undefined;
  /** Clock time at which it must have ended, if it has a deadline. */
  deadlineAtMs?: number | undefined;
  resolve(parts: Parts): void;
  reject(error: unknown): void;
}

export function cancelledUnsent({ method, options }: Submission): TaskCancelledError {
  return new TaskCancelledError({
    message: `${method} was cancelled before it was sent`,
    cause: options.signal?.reason,
  });
}

/** Rejects a call that was not sent yet when it is cancelled or its time is over, and tells `dropped`. Returns the undo. */
export function watchUnsent(clock: Clock, submission: Submission, dropped: () => void): (() => void) | undefined {
  const { method, options, deadlineAtMs } = submission;
  const { signal, timeoutMs } = options;
  if (!signal && deadlineAtMs === undefined) return undefined;
  const undo = (): void => {
    timer?.cancel();
    signal?.removeEventListener("abort", cancel);
  };
  const drop = (error: WhiprayError): void => {
    undo();
    dropped();
    submission.reject(error);
  };
  const cancel = (): void => drop(cancelledUnsent(submission));
  const late = (): void =>
    drop(
      new WhiprayError({
        code: "DEADLINE_EXCEEDED",
        message: `${method} was not sent within ${timeoutMs} ms: the actor does not run (yet), or an argument is not there`,
        details: { method, timeoutMs },
      }),
    );
  const timer =
    deadlineAtMs === undefined
      ? undefined
      : clock.after(Math.max(0, deadlineAtMs - clock.now()), late, { keepAlive: true });
  signal?.addEventListener("abort", cancel, { once: true });
  return undo;
}
