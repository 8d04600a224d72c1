export { ActorExit, exitActor } from "./actor-exit.ts";
export { ACTOR_START, type ActorClass, RAW_CALL, type StartsLater, type TakesRawCalls } from "./actor-methods.ts";
export { CallRunner } from "./call-runner.ts";
export {
  type ActorContext,
  actorContext,
  type CallContext,
  callContext,
  cancelledWithCall,
  requireActorContext,
  taskContext,
  workerContext,
} from "./context.ts";
export { workerMain } from "./main.io.ts";
export { fileHash, type ModuleCode, moduleCode } from "./module-code.io.ts";
export {
  INLINE_OBJECT_BYTES,
  isLarge,
  isStored,
  loadObjectClient,
  NO_ROOM,
  type ObjectAccess,
  openArguments,
  openObjectClient,
  openParts,
} from "./object-access.ts";
export type { ObjectClient, ObjectHome } from "./object-client.ts";
export type { RunningTask } from "./running-task.ts";
export type { TaskWaits } from "./task-waits.ts";
export type { Garbage } from "./view-collector.ts";
export { originalPath } from "./working-copy.ts";
