import { TaskCancelledError, WhiprayError } from "@whipray/core";
import type { ObjectRef } from "./object-ref.ts";

export interface CancelOptions {
  /** A task that runs is ended with its worker process; its ref then fails with WorkerCrashedError. Default false. */
  force?: boolean;
  /** Tasks that it made and that are not done are cancelled too. Default true. */
  recursive?: boolean;
}

/** What can be done to a task that was submitted. */
export interface Cancellable {
  /** Kills its worker. False when it does not run there (yet). */
  kill(): boolean;
  /** Sent ahead of its cancel. */
  spareChildren(): void;
}

const tasks = new WeakMap<ObjectRef, Cancelling>();

/** The way to cancel one task. */
export class Cancelling {
  readonly #controller = new AbortController();
  target: Cancellable | undefined;
  /** Its worker was killed: its end is the answer. */
  killed = false;
  /** Whoever would cancel it need not any more. */
  onDone: (() => void) | undefined;

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** These are what it gives. */
  gives(refs: readonly ObjectRef[]): void {
    for (const ref of refs) tasks.set(ref, this);
  }

  cancel({ force = false, recursive = true }: CancelOptions = {}): void {
    if (!recursive) this.target?.spareChildren();
    if (force && this.target?.kill()) this.killed = true;
    else this.#controller.abort(new TaskCancelledError({ message: "The task was cancelled" }));
  }
}

/**
 * Cancels the task whose result `ref` is (Ray: `ray.cancel`): one that waits never runs, one that runs sees its signal abort; one that is
 * done stays done. @throws WhiprayError `INVALID_ARGUMENT` for another ref.
 */
export function cancelTask(ref: ObjectRef, options: CancelOptions = {}): void {
  const task = tasks.get(ref);
  if (task) task.cancel(options);
  else
    throw new WhiprayError({
      code: "INVALID_ARGUMENT",
      message:
        "cancel takes a ref that .remote() of a task gave in this process; calls of actors are cancelled by options({ signal })",
    });
}
