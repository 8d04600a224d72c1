import type { CallOptions, Parts } from "@whipray/rpc";
import type { MethodOptions } from "./actor-types.ts";
import type { Cancellable } from "./cancelling.ts";
import type { Driver } from "./driver.ts";
import { type CallTarget, encodeArguments, MethodCall, resolveRefs } from "./method-call.ts";
import type { ObjectRef } from "./object-ref.ts";
import { decode } from "./values.ts";

const MADE = Symbol("made");

/** Where calls and streams go: an actor, or whatever worker runs a task. */
export interface RemoteTarget extends CallTarget {
  stream(method: string, parts: Parts, options: CallOptions): AsyncIterable<Parts>;
}

/** A call as the promise of its result knows it. */
class ValueCall extends MethodCall {
  readonly driver: Driver;
  declare readonly target: RemoteTarget;

  constructor(driver: Driver, target: RemoteTarget, name: string, args: unknown[], options: MethodOptions) {
    super(target, name, args, options);
    this.driver = driver;
  }

  protected override take(parts: Parts): unknown {
    const { driver } = this;
    const reply = driver.objects.take(parts);
    return reply instanceof Promise ? reply.then((taken) => decode(driver, taken)) : decode(driver, reply);
  }
}

interface Made {
  [MADE]: ValueCall;
  [Symbol.asyncIterator]: (this: Made) => AsyncGenerator<unknown>;
}

/** A call: a promise of its result, which is an iterator of its items too. */
export function remoteCall(
  driver: Driver,
  target: RemoteTarget,
  name: string,
  args: unknown[],
  options: MethodOptions,
): unknown {
  const made = new ValueCall(driver, target, name, args, options);
  // Whoever makes a call waits for it; one that becomes a stream ends never.
  if (driver.waits) queueMicrotask(() => void (made.streamed || driver.until(made.result)));
  const result = made.result as Promise<unknown> & Made;
  result[MADE] = made;
  result[Symbol.asyncIterator] = iterate;
  return result;
}

/** A call whose result is a ref, at once. */
export function remoteRef(
  driver: Driver,
  target: RemoteTarget,
  name: string,
  args: unknown[],
  options: MethodOptions & Cancellable,
): ObjectRef {
  return driver.objects.own(new MethodCall(target, name, args, options).result as Promise<Parts>, options.parent);
}

/** The call becomes a stream; its promise, which nobody may wait for now, stays open. */
function iterate(this: Made): AsyncGenerator<unknown> {
  const made = this[MADE];
  made.streamed = true;
  return items(made.driver, made.target, made.method, made.args, made.options);
}

async function* items(
  driver: Driver,
  target: RemoteTarget,
  name: string,
  args: unknown[],
  options: MethodOptions,
): AsyncGenerator<unknown> {
  const parts = encodeArguments(await driver.until(resolveRefs(args)));
  const stream = target.stream(name, parts, options)[Symbol.asyncIterator]();
  try {
    for (;;) {
      const step = await driver.until(stream.next());
      if (step.done) return;
      yield decode(driver, step.value);
    }
  } finally {
    await stream.return?.();
  }
}
