export { ActorExit } from "./actor-host.ts";
export { type ActorClass, RAW_CALL, type TakesRawCalls } from "./actor-methods.ts";
export { type ActorContext, actorContext, type CallContext, callContext, requireActorContext } from "./context.ts";

/** File that a raylet starts with Node to get a worker. */
export const workerEntry: URL = new URL(
  import.meta.url.endsWith(".ts") ? "./main.io.ts" : "./main.io.js",
  import.meta.url,
);
