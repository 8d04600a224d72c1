import { WhiprayError } from "@whipray/core";
import type { IncomingCall } from "@whipray/rpc";

export type ActorMethod = (...args: unknown[]) => unknown;
export type ActorClass = new (...args: unknown[]) => object;

/**
 * A class may take chosen calls as they are, undecoded and outside the queue, by a method of this name. It returns whether
 * it took the call, or a promise of the call's end. For actors that pass calls on, such as the RPC server in front of a Python engine.
 */
export const RAW_CALL = Symbol.for("whipray.rawCall");
export interface TakesRawCalls {
  [RAW_CALL](call: IncomingCall): boolean | Promise<void>;
}

/** A class whose construction takes longer than its constructor has a method of this name: the actor is alive when it is done. */
export const ACTOR_START: unique symbol = Symbol.for("whipray.actorStart") as never;
export interface StartsLater {
  [ACTOR_START](): Promise<void>;
}

/** Ray: async actors run up to 1000 calls at once, all others one. */
export const ASYNC_CONCURRENCY = 1_000;

const AsyncFunction = (async () => {}).constructor;
const AsyncGeneratorFunction = async function* () {}.constructor;

/**
 * The methods that can be called from outside: functions of the class and its bases, by own name. Never `constructor`,
 * names that begin with `_` or `$`, or anything of Object.prototype (reliability B16).
 */
export function actorMethods(cls: ActorClass): ReadonlyMap<string, ActorMethod> {
  const methods = new Map<string, ActorMethod>();
  for (let proto = cls.prototype; proto && proto !== Object.prototype; proto = Object.getPrototypeOf(proto)) {
    for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(proto))) {
      const hidden = name === "constructor" || name.startsWith("_") || name.startsWith("$");
      if (!hidden && !methods.has(name) && typeof property.value === "function") methods.set(name, property.value);
    }
  }
  return methods;
}

export function isAsync(methods: ReadonlyMap<string, ActorMethod>): boolean {
  return [...methods.values()].some(
    (method) => method instanceof AsyncFunction || method instanceof AsyncGeneratorFunction,
  );
}

export function methodNotFound(className: string, method: string, known: Iterable<string>): WhiprayError {
  const names = [...known].slice(0, 50);
  return new WhiprayError({
    code: "METHOD_NOT_FOUND",
    message: `${className} has no method ${JSON.stringify(method.slice(0, 128))}; it has ${names.length > 0 ? names.join(", ") : "none"}`,
    details: { className, method: method.slice(0, 128), methods: names },
  });
}
