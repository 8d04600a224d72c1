import { inspect } from "node:util";
import { WhiprayError } from "@whipray/core";
import { type CallOptions, type ItemStream, type Parts, type Peer, TO_WIRE } from "@whipray/rpc";
import type { ActorLink } from "./actor-link.ts";
import type { ActorHandle, ActorMethodOptions } from "./actor-types.ts";
import { cancellable } from "./cancelling.ts";
import type { Driver } from "./driver.ts";
import { HandleLife } from "./handle-life.ts";
import { callParts } from "./method-call.ts";
import { checkMethodOptions } from "./method-rules.ts";
import { remoteCall, remoteRef } from "./remote-call.ts";

const LINK = Symbol.for("whipray.handle.link");

interface HandleTarget {
  readonly link: ActorLink;
  readonly driver: Driver;
  /** Whoever holds a method holds its handle. */
  self?: unknown;
}

/** How a handle came to be. */
export interface HandleOrigin {
  readonly className: string;
  /** Its disposal may end the actor. `made`: here; `borrowed`: it came from another process. */
  readonly counted?: "made" | "borrowed" | undefined;
}

/** What handles are instances of: not plain objects, or they would travel as empty maps. */
class RemoteActor {}

/** Handles from elsewhere that nobody can reach any more are given back before their process ends. */
const unreachable = new FinalizationRegistry<HandleLife>((life) => life.dispose());

/** A proxy whose properties are remote methods; `then`, `toJSON`, symbols and inspection are answered here. */
export function makeHandle<T>(driver: Driver, link: ActorLink, { className, counted }: HandleOrigin): ActorHandle<T> {
  link.className = className;
  const target: HandleTarget = { link, driver };
  const methods = new Map<string, unknown>();
  const text = `ActorHandle(${className}, ${link.actorId})`;
  const life = new HandleLife(link, driver.scopes, driver.connection.clock, counted !== undefined);
  const handle = new Proxy(Object.freeze(new RemoteActor()), {
    get(_, key) {
      if (key === LINK) return target;
      if (key === TO_WIRE) return () => life.toWire();
      if (key === Symbol.dispose) return () => life.dispose();
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
  target.self = handle;
  if (counted === "borrowed") unreachable.register(handle, life);
  return handle;
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

/** The actor runs on this machine, and was called: processes beside it can be dialled. */
export function isNear(handle: unknown): boolean {
  return handleTarget(handle).link.near;
}

/** A session with a process beside the actor, through the door that it opened for this one (PROTOCOL.md, "Doors"). It ends with its link. */
export function dialDoor(handle: unknown, { to, url, token }: { to: string; url: string; token: string }): Peer {
  const { endpoint } = handleTarget(handle).driver.connection;
  return endpoint.connect({ to, url, purpose: "data", door: token });
}

function remoteMethod(target: HandleTarget, name: string, options: ActorMethodOptions): unknown {
  const { link, driver } = target;
  const call = (...args: unknown[]): unknown =>
    remoteCall(target.driver, link, name, args, cancellable("call", options, false));
  return Object.assign(call, {
    remote: (...args: unknown[]) => remoteRef(driver, link, name, args, cancellable("call", options, true)),
    options: (more: ActorMethodOptions) => {
      checkMethodOptions(more);
      return remoteMethod(target, name, { ...options, ...more });
    },
  });
}
