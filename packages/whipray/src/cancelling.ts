import { TaskCancelledError, WhiprayError } from "@whipray/core";
import type { CallCanceller, CallOptions, Peer } from "@whipray/rpc";
import { cancelledWithCall } from "@whipray/worker";
import type { MethodOptions } from "./actor-types.ts";
import type { ObjectRef } from "./object-ref.ts";

export interface CancelOptions {
  /** A task that runs is ended with its worker process; its ref then fails with WorkerCrashedError. Not for calls of actors. Default false. */
  force?: boolean;
  /** Tasks and calls of actors that it made and that are not done are cancelled too. Default true. */
  recursive?: boolean;
}

/** A task that may be ended by force. */
export interface Killable {
  /** Kills its worker. False when it does not run there (yet). */
  kill(): boolean;
}

/** The way to cancel one task, or one call of an actor. There may be very many: nothing is made before it is needed. */
export class Cancelling implements CallCanceller {
  readonly #what: "task" | "call";
  #abortedWith: TaskCancelledError | undefined;
  /** Whoever has the call now; it is in one place at a time. */
  #listener: ((reason: WhiprayError) => void) | undefined;
  /** Where it was sent, and its number there. */
  #peer: Pick<Peer, "cancel"> | undefined;
  #sequence = 0;
  readonly #leaveCaller: (() => void) | undefined;
  target: Killable | undefined;
  /** Its worker was killed: its end is the answer. */
  killed = false;

  /** Made by a call that runs, it is cancelled with it, until it is `done`. */
  constructor(what: "task" | "call") {
    this.#what = what;
    this.#leaveCaller = cancelledWithCall(this);
  }

  /** Another call made it. */
  get isChild(): boolean {
    return this.#leaveCaller !== undefined;
  }

  get abortedWith(): TaskCancelledError | undefined {
    return this.#abortedWith;
  }

  onAbort(listener: (reason: WhiprayError) => void): () => void {
    this.#listener = listener;
    return () => {
      if (this.#listener === listener) this.#listener = undefined;
    };
  }

  /** It was sent, and nobody listens for a cancel. */
  sent(peer: Pick<Peer, "cancel">, sequence: number): void {
    this.#peer = peer;
    this.#sequence = sequence;
  }

  /** It has ended. */
  done(): void {
    this.#leaveCaller?.();
  }

  /** @throws WhiprayError `INVALID_ARGUMENT` for a call of an actor by force (Ray: ValueError). */
  cancel({ force = false, recursive = true }: CancelOptions = {}): void {
    if (force && this.#what === "call") throw noForce();
    if (this.#abortedWith) return;
    if (force && this.target?.kill()) {
      this.killed = true;
      return;
    }
    const details = recursive ? {} : { recursive };
    this.#abortedWith = new TaskCancelledError({ message: `The ${this.#what} was cancelled`, details });
    if (this.#listener) this.#listener(this.#abortedWith);
    else this.#peer?.cancel(this.#sequence, this.#abortedWith);
  }
}

/**
 * Cancels the task or the actor's call whose result `ref` is (Ray: `ray.cancel`): one that waits never runs, one that runs sees its signal
 * abort; one that is done stays done. @throws WhiprayError `INVALID_ARGUMENT` for another ref, and for a call of an actor by force.
 */
export function cancelRef(ref: ObjectRef, options: CancelOptions = {}): void {
  const { cancelling } = ref.source;
  if (cancelling) cancelling.cancel(options);
  else
    throw new WhiprayError({
      code: "INVALID_ARGUMENT",
      message: "cancel takes a ref that .remote() of a task or of an actor's method gave in this process",
    });
}

/** Options of a call that can be cancelled otherwise than by its own signal. */
export interface Cancellable {
  readonly parent?: Cancelling | undefined;
}

/** Only who has a ref can cancel a call; and the call that makes it, by its own cancel. */
export function cancellable<O extends MethodOptions>(
  what: "task" | "call",
  options: O,
  byRef: boolean,
): O & Cancellable {
  const parent = new Cancelling(what);
  return byRef || parent.isChild ? { ...options, parent } : options;
}

/** Calls `stop` when a call with these options is cancelled. Returns the undo; undefined when nobody can. */
export function whenCancelled(
  { signal, parent }: CallOptions,
  stop: (reason: unknown) => void,
): (() => void) | undefined {
  if (!signal && !parent) return undefined;
  const abort = (): void => stop(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  const leave = parent?.onAbort(stop);
  return () => {
    signal?.removeEventListener("abort", abort);
    leave?.();
  };
}

export function isCancelled({ signal, parent }: CallOptions): boolean {
  return signal?.aborted === true || parent?.abortedWith !== undefined;
}

function noForce(): WhiprayError {
  return new WhiprayError({
    code: "INVALID_ARGUMENT",
    message: "force ends a task's process; a call of an actor can only be told, and kill(handle) ends the actor",
  });
}
