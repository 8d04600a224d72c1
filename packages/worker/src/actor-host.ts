import { ActorDiedError, asWhiprayError, WhiprayError } from "@whipray/core";
import {
  type ActorSpec,
  decodeValues,
  encodeValues,
  type IncomingCall,
  type Parts,
  type Revive,
  storedOf,
} from "@whipray/rpc";
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
import { runInCall } from "./context.ts";
import { isLarge, isStored, type ObjectAccess, openArguments, openParts, outgoingParts } from "./object-access.ts";

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
  readonly #revive: Revive | undefined;
  readonly #objects: ObjectAccess | undefined;

  /** `leave` ends the process after what is queued for sending has gone out. */
  constructor(
    spec: ActorSpec,
    epoch: number,
    cls: ActorClass,
    args: readonly unknown[],
    leave: () => void,
    revive?: Revive,
    objects?: ObjectAccess,
  ) {
    this.#objects = objects;
    this.#revive = revive;
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
        this.#queue.enter({ call, run: () => this.#run(call, method) });
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

  /** A method that gives a small value at once has answered when this returns; for all others there is a promise. */
  #run(call: IncomingCall, method: ActorMethod): Promise<void> | undefined {
    if (storedOf(call.parts)) return this.#runStored(call, method);
    return this.#apply(call, method, call.parts);
  }

  /** The arguments lie in shared memory. */
  async #runStored(call: IncomingCall, method: ActorMethod): Promise<void> {
    try {
      await this.#apply(call, method, this.#objects ? await openParts(call.parts, this.#objects) : call.parts);
    } catch (error) {
      this.#failed(call, error);
    }
  }

  #apply(call: IncomingCall, method: ActorMethod, parts: Parts): Promise<void> | undefined {
    try {
      const args = parts[0]?.length ? decodeValues(parts, this.#revive) : [];
      if (!Array.isArray(args))
        throw new WhiprayError({ code: "INVALID_ARGUMENT", message: "The arguments of a call must be a list" });
      if (this.#objects && args.some(isStored)) return this.#applyOpened(call, method, args, this.#objects);
      const result = runInCall(call, apply, method, this.#instance, args);
      if (isThenable(result) || isIterator(result)) return this.#follow(call, result);
      return this.#answer(call, result);
    } catch (error) {
      this.#failed(call, error);
      return undefined;
    }
  }

  /** Some arguments are refs whose values lie in shared memory. */
  async #applyOpened(call: IncomingCall, method: ActorMethod, args: unknown[], objects: ObjectAccess): Promise<void> {
    try {
      const opened = await openArguments(args, objects, this.#revive);
      await this.#follow(call, runInCall(call, apply, method, this.#instance, opened));
    } catch (error) {
      this.#failed(call, error);
    }
  }

  async #follow(call: IncomingCall, running: unknown): Promise<void> {
    try {
      const result = await running;
      if (isIterator(result)) await runInCall(call, sendItems, call, result);
      else await this.#answer(call, result);
    } catch (error) {
      this.#failed(call, error);
    }
  }

  #answer(call: IncomingCall, result: unknown): Promise<void> | undefined {
    const out = encodeValues(result);
    if (this.#objects && isLarge(out)) return this.#answerStored(call, out, this.#objects);
    call.reply(out);
    return undefined;
  }

  async #answerStored(call: IncomingCall, out: Parts, objects: ObjectAccess): Promise<void> {
    try {
      call.reply(await outgoingParts(out, call, objects));
    } catch (error) {
      this.#failed(call, error);
    }
  }

  #failed(call: IncomingCall, error: unknown): void {
    if (error instanceof ActorExit) {
      call.fail(
        new ActorDiedError({
          message: `Actor ${this.#spec.className} left by exitActor()`,
          details: { actorId: this.#spec.actorId },
        }),
      );
      this.#leave();
    } else call.fail(error instanceof Error ? error : asWhiprayError(error, "TASK_FAILED"));
  }
}

function apply(method: ActorMethod, instance: object, args: unknown[]): unknown {
  return method.apply(instance, args);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  const may = (typeof value === "object" && value !== null) || typeof value === "function";
  return may && typeof (value as Partial<PromiseLike<unknown>>).then === "function";
}

function takesRawCalls(instance: object): instance is TakesRawCalls {
  return typeof (instance as Partial<TakesRawCalls>)[RAW_CALL] === "function";
}

type AnyIterator = AsyncIterator<unknown> | Iterator<unknown>;

function isIterator(value: unknown): value is AnyIterator {
  if (typeof value !== "object" || value === null) return false;
  const candidate = value as { next?: unknown; [Symbol.asyncIterator]?: unknown; [Symbol.iterator]?: unknown };
  return typeof candidate.next === "function" && Boolean(candidate[Symbol.asyncIterator] ?? candidate[Symbol.iterator]);
}

/** Streams what a generator yields; for a caller that wants one value, collects it. */
async function sendItems(call: IncomingCall, items: AnyIterator): Promise<void> {
  const collected: unknown[] = [];
  try {
    for (;;) {
      const step = await items.next();
      if (step.done) {
        if (call.wantsStream) call.end(encodeValues(step.value));
        else call.reply(encodeValues(collected));
        return;
      }
      if (call.wantsStream) await call.item(encodeValues(step.value));
      else collected.push(step.value);
    }
  } catch (error) {
    // The reader left or the call was cancelled: the generator's own finally blocks run.
    await items.return?.(undefined);
    throw error;
  }
}
