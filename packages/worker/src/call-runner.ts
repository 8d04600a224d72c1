import { raisedAt, type Where, WhiprayError } from "@whipray/core";
import { decodeValues, encodeValues, type IncomingCall, type Parts, type Revive, storedOf } from "@whipray/rpc";
import type { ActorMethod } from "./actor-methods.ts";
import { type CallContext, runInCall } from "./context.ts";
import { isLarge, isStored, type ObjectAccess, openArguments, openParts, outgoingParts } from "./object-access.ts";

/** Runs calls: takes arguments from where they lie, and answers with a value, items, or the error. */
export class CallRunner {
  readonly #revive: Revive | undefined;
  readonly #objects: ObjectAccess | undefined;
  readonly #where: Where;
  readonly #thrown: (call: IncomingCall, error: unknown) => boolean;
  readonly #contextOf: (call: IncomingCall) => CallContext;

  /**
   * `where` is told of what user code throws. `thrown` may take an error, and answer the call itself: then it returns true. `contextOf`: what the
   * running code sees of its call.
   */
  constructor(
    revive: Revive | undefined,
    objects: ObjectAccess | undefined,
    where: Where,
    thrown: (call: IncomingCall, error: unknown) => boolean = () => false,
    contextOf: (call: IncomingCall) => CallContext = (call) => call,
  ) {
    this.#revive = revive;
    this.#objects = objects;
    this.#where = where;
    this.#thrown = thrown;
    this.#contextOf = contextOf;
  }

  /** A method that gives a small value at once has answered when this returns; for all others there is a promise. */
  run(call: IncomingCall, method: ActorMethod, self: object | undefined): Promise<void> | undefined {
    if (storedOf(call.parts)) return this.#runStored(call, method, self);
    return this.#apply(call, method, self, call.parts);
  }

  /** The arguments lie in shared memory. */
  async #runStored(call: IncomingCall, method: ActorMethod, self: object | undefined): Promise<void> {
    try {
      await this.#apply(call, method, self, this.#objects ? await openParts(call.parts, this.#objects) : call.parts);
    } catch (error) {
      this.#failed(call, error);
    }
  }

  #apply(call: IncomingCall, method: ActorMethod, self: object | undefined, parts: Parts): Promise<void> | undefined {
    try {
      const args = parts[0]?.length ? decodeValues(parts, this.#revive) : [];
      if (!Array.isArray(args))
        throw new WhiprayError({ code: "INVALID_ARGUMENT", message: "The arguments of a call must be a list" });
      if (this.#objects && args.some(isStored)) return this.#applyOpened(call, method, self, args, this.#objects);
      const result = runInCall(this.#contextOf(call), apply, method, self, args);
      if (isThenable(result) || isIterator(result)) return this.#follow(call, result);
      return this.#answer(call, result);
    } catch (error) {
      this.#failed(call, error);
      return undefined;
    }
  }

  /** Some arguments are refs whose values lie in shared memory. */
  async #applyOpened(
    call: IncomingCall,
    method: ActorMethod,
    self: object | undefined,
    args: unknown[],
    objects: ObjectAccess,
  ): Promise<void> {
    try {
      const opened = await openArguments(args, objects, this.#revive);
      await this.#follow(call, runInCall(this.#contextOf(call), apply, method, self, opened));
    } catch (error) {
      this.#failed(call, error);
    }
  }

  async #follow(call: IncomingCall, running: unknown): Promise<void> {
    try {
      const result = await running;
      if (isIterator(result)) await runInCall(this.#contextOf(call), sendItems, call, result);
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
    if (this.#thrown(call, error)) return;
    call.fail(raisedAt(error, this.#where));
  }
}

function apply(method: ActorMethod, instance: object | undefined, args: unknown[]): unknown {
  return method.apply(instance, args);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  const may = (typeof value === "object" && value !== null) || typeof value === "function";
  return may && typeof (value as Partial<PromiseLike<unknown>>).then === "function";
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
