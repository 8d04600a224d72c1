import type { CallOptions, Parts } from "@whipray/rpc";
import type { MethodOptions } from "./actor-types.ts";
import type { Driver } from "./driver.ts";
import { type CallTarget, encodeArguments, MethodCall, resolveRefs } from "./method-call.ts";
import type { ObjectRef } from "./object-ref.ts";
import { decode } from "./values.ts";

const MADE = Symbol("made");

/** Where calls and streams go: an actor, or whatever worker runs a task. */
export interface RemoteTarget extends CallTarget {
  stream(method: string, parts: Parts, options: CallOptions): AsyncIterable<Parts>;
}

interface Made {
  [MADE]: { made: MethodCall; driver: Driver; target: RemoteTarget; args: unknown[] };
}

/** A call: a promise of its result, which is an iterator of its items too. */
export function remoteCall(
  driver: Driver,
  target: RemoteTarget,
  name: string,
  args: unknown[],
  options: MethodOptions,
): unknown {
  const value = (parts: Parts): unknown => {
    const reply = driver.objects.take(parts);
    return reply instanceof Promise ? reply.then((taken) => decode(driver, taken)) : decode(driver, reply);
  };
  const made = new MethodCall(target, name, args, options, value);
  // Whoever makes a call waits for it; one that becomes a stream ends never.
  if (driver.waits) queueMicrotask(() => void (made.streamed || driver.until(made.result)));
  return Object.assign(made.result, { [MADE]: { made, driver, target, args }, [Symbol.asyncIterator]: iterate });
}

/** A call whose result is a ref, at once. */
export function remoteRef(
  driver: Driver,
  target: RemoteTarget,
  name: string,
  args: unknown[],
  options: MethodOptions,
): ObjectRef {
  return driver.objects.own(new MethodCall(target, name, args, options, asParts).result as Promise<Parts>);
}

/** The call becomes a stream; its promise, which nobody may wait for now, stays open. */
function iterate(this: Made): AsyncGenerator<unknown> {
  const { made, driver, target, args } = this[MADE];
  made.streamed = true;
  return items(driver, target, made.method, args, made.options);
}

function asParts(parts: Parts): Parts {
  return parts;
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
