import { inspect } from "node:util";
import { WhiprayError } from "@whipray/core";
import { ActorHandleWire, type CallOptions, type ItemStream, type Parts, TO_WIRE } from "@whipray/rpc";
import type { ActorLink } from "./actor-link.ts";
import type { ActorHandle, ActorMethodOptions } from "./actor-types.ts";
import type { Driver } from "./driver.ts";
import { callParts } from "./method-call.ts";
import { checkMethodOptions } from "./method-rules.ts";
import { remoteCall, remoteRef } from "./remote-call.ts";

const LINK = Symbol.for("whipray.handle.link");

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

function remoteMethod(target: HandleTarget, name: string, options: ActorMethodOptions): unknown {
  const { link, driver } = target;
  const call = (...args: unknown[]): unknown => remoteCall(driver, link, name, args, options);
  return Object.assign(call, {
    remote: (...args: unknown[]) => remoteRef(driver, link, name, args, options),
    options: (more: ActorMethodOptions) => {
      checkMethodOptions(more);
      return remoteMethod(target, name, { ...options, ...more });
    },
  });
}
