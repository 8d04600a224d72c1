import { ActorDiedError, type Where, WhiprayError } from "@whipray/core";
import { type ActorSpec, encodeValues, type IncomingCall, type Revive } from "@whipray/rpc";
import { isActorExit } from "./actor-exit.ts";
import {
  ACTOR_START,
  type ActorClass,
  type ActorMethod,
  actorMethods,
  methodNotFound,
  RAW_CALL,
  type StartsLater,
  type TakesRawCalls,
} from "./actor-methods.ts";
import { CallRunner } from "./call-runner.ts";
import { Concurrency } from "./concurrency.ts";
import type { ObjectAccess } from "./object-access.ts";

/** The one actor of this process: its instance, its methods, its queues. */
export class ActorHost {
  readonly #spec: ActorSpec;
  readonly #epoch: number;
  readonly #instance: object;
  readonly #methods: ReadonlyMap<string, ActorMethod>;
  readonly #concurrency: Concurrency;
  readonly #leave: () => void;
  readonly #runner: CallRunner;
  /** It leaves on purpose: what comes now is refused with this. */
  #departure: ActorDiedError | undefined;
  /** Calls under way that its class took as they were. */
  readonly #raw = new Set<Promise<void>>();

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
    this.#concurrency = new Concurrency(spec, this.#methods);
    this.#instance = new cls(...args);
  }

  /** What the constructor could not do at once. */
  async start(): Promise<void> {
    await (this.#instance as Partial<StartsLater>)[ACTOR_START]?.();
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
    if (this.#departure) {
      call.fail(this.#departure);
      return;
    }
    try {
      if (this.#takenRaw(call)) return;
      if (call.method.startsWith("$")) this.#system(call);
      else {
        const { method: name, queue } = this.#concurrency.find(call.method);
        const method = this.#methods.get(name);
        if (!method) throw methodNotFound(this.#spec.className, name, this.#methods.keys());
        queue.enter({ call, run: () => this.#runner.run(call, method, this.#instance) });
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

  #takenRaw(call: IncomingCall): boolean {
    const taken = takesRawCalls(this.#instance) && this.#instance[RAW_CALL](call);
    if (typeof taken === "boolean") return taken;
    this.#raw.add(taken);
    void taken.finally(() => this.#raw.delete(taken));
    return true;
  }

  #system(call: IncomingCall): void {
    if (call.method === "$ready") call.reply(encodeValues(null));
    else if (call.method === "$terminate") {
      // Earlier calls end first (Ray: __ray_terminate__).
      void this.#depart("was told to end by terminate()").then(() => {
        call.reply(encodeValues(null));
        this.#leave();
      });
    } else throw methodNotFound(this.#spec.className, call.method, this.#methods.keys());
  }

  /** Whether the error was the actor's wish to leave: what waits fails, what runs ends first (Ray). */
  #left(call: IncomingCall, error: unknown): boolean {
    if (!isActorExit(error)) return false;
    const departed = this.#depart("left by exitActor()");
    for (const waiting of [{ call }, ...this.#concurrency.drain()]) waiting.call.fail(this.#departure);
    void departed.then(this.#leave);
    return true;
  }

  /** Takes no more calls; resolves when none runs or waits. */
  async #depart(how: string): Promise<void> {
    const { actorId, className } = this.#spec;
    this.#departure = new ActorDiedError({ message: `Actor ${className} ${how}`, details: { actorId } });
    await Promise.allSettled([this.#concurrency.idle(), ...this.#raw]);
  }
}

function takesRawCalls(instance: object): instance is TakesRawCalls {
  return typeof (instance as Partial<TakesRawCalls>)[RAW_CALL] === "function";
}
