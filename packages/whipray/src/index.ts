export * from "@whipray/core";
export { type ClusterEvent, type EventSeverity, type EventType, Tensor } from "@whipray/rpc";
export { type CallContext, callContext, exitActor } from "@whipray/worker";
export { callRaw, streamRaw } from "./actor-handle.ts";
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
export { type ActorBuilder, Cluster } from "./cluster.ts";
export type { EventOptions } from "./cluster-events.ts";
export { currentCluster, currentPlacementGroup } from "./connect.ts";
export type { GetOptions, WaitOptions } from "./get-wait.ts";
export { type InitOptions, init } from "./init.ts";
export * as daemons from "./node/index.ts";
export type { NodeObjects } from "./object-list.ts";
export { ObjectRef } from "./object-ref.ts";
export { type BundlePlacement, PlacementGroup, type PlacementGroupOptions } from "./placement-group.ts";
export { kwargs, type PythonOptions } from "./python/python-options.ts";
export type { TaskOptions } from "./task-options.ts";
export type { RemoteFunction } from "./task-types.ts";
