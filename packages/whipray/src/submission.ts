import { type Clock, TaskCancelledError, WhiprayError } from "@whipray/core";
import type { CallCanceller, CallOptions, Parts } from "@whipray/rpc";
import type { ActorMethodOptions } from "./actor-types.ts";
import { isCancelled, whenCancelled } from "./cancelling.ts";
import type { TaskReport } from "./task-reports.ts";

export type SubmitOptions = CallOptions &
  Pick<ActorMethodOptions, "concurrencyGroup" | "maxTaskRetries" | "retryExceptions"> & {
    /** Its `done` wants to be told of the end. */
    parent?: (CallCanceller & { readonly isChild?: boolean; done?(): void }) | undefined;
  };

/** A call of an actor, and who waits for it. */
export interface Submission {
  readonly method: string;
  readonly parts: Parts;
  readonly options: SubmitOptions;
  /** Executions that may still be risked beyond the first (Ray: max_task_retries; −1 = no bound). NaN: not looked up yet. */
  retries: number;
  /** Class names of errors that are a reason for one; `*` is any. */
  retryOn?: readonly string[] | undefined;
  /** What `listTasks` is told of it. */
  readonly report?: TaskReport | undefined;
  /** Clock time at which it must have ended, if it has a deadline. */
  deadlineAtMs?: number | undefined;
  resolve(parts: Parts): void;
  reject(error: unknown): void;
}

type UnsentCall = Pick<Submission, "method" | "options" | "deadlineAtMs">;

export function cancelledUnsent({ method, options }: UnsentCall): TaskCancelledError {
  return new TaskCancelledError({
    message: `${method} was cancelled before it was sent`,
    cause: options.signal?.reason ?? options.parent?.abortedWith,
  });
}

/** What `work` gives, unless the call, which is not sent before, is cancelled or late. */
export function unsent<T>(clock: Clock, call: UnsentCall, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    if (isCancelled(call.options)) reject(cancelledUnsent(call));
    const undo = watchUnsent(clock, { ...call, reject }, () => {});
    work.then(resolve, reject).finally(undo);
  });
}

/** Rejects a call that was not sent yet when it is cancelled or its time is over, and tells `dropped`. Returns the undo. */
export function watchUnsent(
  clock: Clock,
  submission: UnsentCall & Pick<Submission, "reject">,
  dropped: () => void,
): (() => void) | undefined {
  const { method, options, deadlineAtMs } = submission;
  const { signal, parent, timeoutMs } = options;
  if (!signal && !parent && deadlineAtMs === undefined) return undefined;
  const undo = (): void => {
    timer?.cancel();
    leave?.();
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
  const leave = whenCancelled(options, cancel);
  return undo;
}
