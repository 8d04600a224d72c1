import { inspect } from "node:util";
import { WhiprayError } from "@whipray/core";
import { ActorHandleWire, type CallOptions, type ItemStream, type Parts, TO_WIRE } from "@whipray/rpc";
import type { ActorLink } from "./actor-link.ts";
import type { ActorHandle, MethodOptions } from "./actor-types.ts";
import type { Driver } from "./driver.ts";
import { callParts, encodeArguments, MethodCall, resolveRefs } from "./method-call.ts";
import { decode } from "./values.ts";

const LINK = Symbol.for("whipray.handle.link");
const MADE = Symbol("made");

interface HandleTarget {
  link: ActorLink;
  driver: Driver;
  className: string;
}

/** What handles are instances of: not plain objects, or they would travel as empty maps. */
class RemoteActor {}

/** A proxy whose properties are remote methods; `then`, `toJSON`, symbols and inspection are answered here. */
export function makeHandle<T>(driver: Driver, link: ActorLink, className: string): ActorHandle<T> {
  const target: HandleTarget = { link, driver, className };
  const methods = new Map<string, unknown>();
  const text = `ActorHandle(${className}, ${link.actorId})`;
  return new Proxy(Object.freeze(new RemoteActor()), {
    get(_, key) {
      if (key === LINK) return target;
      if (key === TO_WIRE) return () => new ActorHandleWire(link.actorId, "head/head");
      if (key === inspect.custom || key === "toString" || key === Symbol.toPrimitive) return () => text;
      if (key === "toJSON") return () => link.actorId;
      if (typeof key === "symbol" || key === "then" || key === "constructor") return undefined;
      let method = methods.get(key);
      if (!method) {
        method = remoteMethod(target, key, {});
        methods.set(key, method);
      }
      return method;
    },
    has: (_, key) => key === LINK,
  }) as ActorHandle<T>;
}

/** @throws WhiprayError `INVALID_ARGUMENT` for what is no handle. */
export function handleTarget(handle: unknown): HandleTarget {
  const target =
    typeof handle === "object" && handle !== null ? (handle as { [LINK]?: HandleTarget })[LINK] : undefined;
  if (!target)
    throw new WhiprayError({ code: "INVALID_ARGUMENT", message: `An actor handle is needed; got ${typeof handle}` });
  return target;
}

/** A call with parts as they travel, for programs that pass calls on. */
export function callRaw(handle: unknown, method: string, parts: Parts, options: CallOptions = {}): Promise<Parts> {
  const { link, driver } = handleTarget(handle);
  return callParts(link, method, parts, options).then((reply) => driver.objects.take(reply));
}

/** A stream with parts as they travel. */
export function streamRaw(handle: unknown, method: string, parts: Parts, options: CallOptions = {}): ItemStream {
  return handleTarget(handle).link.stream(method, parts, options) as ItemStream;
}

function remoteMethod(target: HandleTarget, name: string, options: MethodOptions): unknown {
  const { link, driver } = target;
  const value = (parts: Parts): unknown => {
    const reply = driver.objects.take(parts);
    return reply instanceof Promise ? reply.then((taken) => decode(driver, taken)) : decode(driver, reply);
  };
  const call = (...args: unknown[]): unknown => {
    const made = new MethodCall(link, name, args, options, value);
    return Object.assign(made.result, { [MADE]: { made, target, args }, [Symbol.asyncIterator]: iterate });
  };
  return Object.assign(call, {
    remote: (...args: unknown[]) =>
      driver.objects.own(new MethodCall(link, name, args, options, asParts).result as Promise<Parts>),
    options: (more: MethodOptions) => remoteMethod(target, name, { ...options, ...more }),
  });
}

interface Made {
  [MADE]: { made: MethodCall; target: HandleTarget; args: unknown[] };
}

/** The call becomes a stream; its promise, which nobody may wait for now, stays open. */
function iterate(this: Made): AsyncGenerator<unknown> {
  const { made, target, args } = this[MADE];
  made.streamed = true;
  return items(target, made.method, args, made.options);
}

function asParts(parts: Parts): Parts {
  return parts;
}

async function* items(
  target: HandleTarget,
  name: string,
  args: unknown[],
  options: MethodOptions,
): AsyncGenerator<unknown> {
  const parts = encodeArguments(await resolveRefs(args));
  for await (const item of target.link.stream(name, parts, options)) yield decode(target.driver, item);
}
