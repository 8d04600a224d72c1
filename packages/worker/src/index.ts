export { ActorExit } from "./actor-host.ts";
export { type ActorClass, RAW_CALL, type TakesRawCalls } from "./actor-methods.ts";
export {
  type ActorContext,
  actorContext,
  type CallContext,
  callContext,
  requireActorContext,
  workerContext,
} from "./context.ts";
export { workerMain } from "./main.io.ts";
export { fileHash, type ModuleCode, moduleCode } from "./module-code.io.ts";
export {
  INLINE_OBJECT_BYTES,
  isLarge,
  NO_ROOM,
  type ObjectAccess,
  openObjectClient,
  openParts,
} from "./object-access.ts";
export type { ObjectClient, ObjectHome } from "./object-client.ts";
export type { TaskWaits } from "./task-waits.ts";
export { originalPath } from "./working-copy.ts";
