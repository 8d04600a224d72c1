export { ActorExit } from "./actor-host.ts";
export { type ActorClass, RAW_CALL, type TakesRawCalls } from "./actor-methods.ts";
export { type ActorContext, actorContext, type CallContext, callContext, requireActorContext } from "./context.ts";
export { workerMain } from "./main.io.ts";
