export * from "@whipray/core";
export { type ClusterEvent, type EventSeverity, type EventType, Tensor } from "@whipray/rpc";
export { type CallContext, callContext, exitActor } from "@whipray/worker";
export { callRaw, dialDoor, isNear, streamRaw } from "./actor-handle.ts";
export type { ActorOptions } from "./actor-options.ts";
export type {
  ActorHandle,
  ActorMethodOptions,
  MethodDefaults,
  MethodOptions,
  RemoteArguments,
  RemoteMethod,
  RemoteResult,
} from "./actor-types.ts";
export type { CancelOptions } from "./cancelling.ts";
export { type ActorBuilder, Cluster } from "./cluster.ts";
export type { EventOptions } from "./cluster-events.ts";
export { currentCluster, currentPlacementGroup, getRuntimeContext } from "./connect.ts";
export type { GetOptions, WaitOptions } from "./get-wait.ts";
export { type InitOptions, init } from "./init.ts";
export type { ListOptions } from "./list-options.ts";
export * as daemons from "./node/index.ts";
export type { NodeObjects, ObjectRow } from "./object-list.ts";
export { ObjectRef } from "./object-ref.ts";
export { type BundlePlacement, PlacementGroup, type PlacementGroupOptions } from "./placement-group.ts";
export { kwargs, type PythonOptions } from "./python/python-options.ts";
export type { RuntimeContext } from "./runtime-context.ts";
export type { RuntimeEnv } from "./runtime-env.ts";
export type { SchedulingOptions } from "./scheduling-options.ts";
export type { TaskDefaults, TaskOptions } from "./task-options.ts";
export type { NumReturns } from "./task-refs.ts";
export type { RemoteFunction, RemoteRefs } from "./task-types.ts";
