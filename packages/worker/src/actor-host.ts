import { ActorDiedError, type Where, WhiprayError } from "@whipray/core";
import { type ActorSpec, encodeValues, type IncomingCall, type Revive } from "@whipray/rpc";
import {
  type ActorClass,
  type ActorMethod,
  ASYNC_CONCURRENCY,
  actorMethods,
  isAsync,
  methodNotFound,
  RAW_CALL,
  type TakesRawCalls,
} from "./actor-methods.ts";
import { CallQueue, PENDING_CALLS_LIMIT } from "./call-queue.ts";
import { CallRunner } from "./call-runner.ts";
import type { ObjectAccess } from "./object-access.ts";

/** Thrown by `exitActor()`: ends the actor on purpose from inside a method. */
export class ActorExit extends Error {
  override readonly name = "ActorExit";
}

/** The one actor of this process: its instance, its methods, its queue. */
export class ActorHost {
  readonly #spec: ActorSpec;
  readonly #epoch: number;
  readonly #instance: object;
  readonly #methods: ReadonlyMap<string, ActorMethod>;
  readonly #queue: CallQueue;
  readonly #leave: () => void;
  readonly #runner: CallRunner;

  /** `leave` ends the process after what is queued for sending has gone out. */
  constructor(
    spec: ActorSpec,
    epoch: number,
    cls: ActorClass,
    args: readonly unknown[],
    leave: () => void,
    where: Where,
    revive?: Revive,
    objects?: ObjectAccess,
  ) {
    this.#runner = new CallRunner(revive, objects, where, (call, error) => this.#left(call, error));
    this.#spec = spec;
    this.#epoch = epoch;
    this.#leave = leave;
    this.#methods = actorMethods(cls);
    const concurrency = spec.maxConcurrency || (isAsync(this.#methods) ? ASYNC_CONCURRENCY : 1);
    this.#queue = new CallQueue(concurrency, spec.maxPendingCalls < 0 ? PENDING_CALLS_LIMIT : spec.maxPendingCalls);
    this.#instance = new cls(...args);
  }

  /** Takes one call of another process. */
  handle(call: IncomingCall): void {
    if (call.epoch !== undefined && call.epoch !== this.#epoch) {
      call.fail(
        new WhiprayError({
          code: "STALE_EPOCH",
          message: `The call means epoch ${call.epoch} of actor ${this.#spec.actorId}, here runs epoch ${this.#epoch}`,
          retryable: true,
          details: { asked: call.epoch, running: this.#epoch },
        }),
      );
      return;
    }
    try {
      if (takesRawCalls(this.#instance) && this.#instance[RAW_CALL](call)) return;
      if (call.method.startsWith("$")) this.#system(call);
      else {
        const method = this.#methods.get(call.method);
        if (!method) throw methodNotFound(this.#spec.className, call.method, this.#methods.keys());
        this.#queue.enter({ call, run: () => this.#runner.run(call, method, this.#instance) });
      }
    } catch (error) {
      call.fail(error);
    }
  }

  /** Runs the instance's own clean-up, if it has one, at the end of the process. */
  async dispose(): Promise<void> {
    const instance = this.#instance as Partial<AsyncDisposable & Disposable>;
    if (Symbol.asyncDispose in instance) await instance[Symbol.asyncDispose]?.();
    else instance[Symbol.dispose]?.();
  }

  #system(call: IncomingCall): void {
    if (call.method === "$ready") call.reply(encodeValues(null));
    else if (call.method === "$terminate") {
      // Queued as a call: earlier ones end first (Ray: __ray_terminate__).
      this.#queue.enter({
        call,
        run: async () => {
          call.reply(encodeValues(null));
          this.#leave();
        },
      });
    } else throw methodNotFound(this.#spec.className, call.method, this.#methods.keys());
  }

  /** Whether the error was the actor's wish to leave. */
  #left(call: IncomingCall, error: unknown): boolean {
    if (!(error instanceof ActorExit)) return false;
    call.fail(
      new ActorDiedError({
        message: `Actor ${this.#spec.className} left by exitActor()`,
        details: { actorId: this.#spec.actorId },
      }),
    );
    this.#leave();
    return true;
  }
}

function takesRawCalls(instance: object): instance is TakesRawCalls {
  return typeof (instance as Partial<TakesRawCalls>)[RAW_CALL] === "function";
}
