import type { LinkRule, ResourceAmounts } from "@whipray/core";
import type { ActorRow, CallOptions, GroupRow, ItemStream, NodeRow, Parts, Strategy } from "@whipray/rpc";
import type { RuntimeEnv } from "whipray";
import type { ServerStart } from "./server-start.ts";

/** A placement group as the scheduler needs it; `PlacementGroup` of whipray is one. */
export interface SchedulerGroup {
  readonly id: string;
  readonly bundleSpecs: readonly ResourceAmounts[];
  /** Waits until it is placed. Rejects with what each bundle waits for. */
  ready(options: { timeoutMs?: number; signal?: AbortSignal }): Promise<unknown>;
  table(): Promise<GroupRow>;
  remove(): Promise<void>;
}

/** Where an RPC server is to run and what it holds. */
export interface ServerPlacement {
  readonly name?: string | undefined;
  readonly groupId: string;
  readonly bundleIndex: number;
  readonly cpu: number;
  /** Amount of `device`; 0 for none. */
  readonly devices: number;
  readonly device: string;
  readonly memoryBytes: number;
  readonly resources: ResourceAmounts;
  readonly captureChildTasks: boolean;
  readonly runtimeEnv?: RuntimeEnv | undefined;
  readonly graceMs: number;
}

/** An RPC-server actor. */
export interface ServerHandle {
  call(method: string, parts: Parts, options?: CallOptions): Promise<Parts>;
  stream(method: string, parts: Parts, options?: CallOptions): ItemStream;
  /** Waits until its constructor is done. Rejects when it died, or with the deadline. */
  ready(options: { timeoutMs?: number; signal?: AbortSignal }): Promise<void>;
  row(): Promise<ActorRow>;
  /** At once, engines with it. */
  kill(): Promise<void>;
}

/** What the scheduler needs of a cluster: the port to whipray, with an in-memory twin in the tests. */
export interface SchedulerCluster {
  /** Settles when the group is on record. */
  placementGroup(
    bundles: readonly ResourceAmounts[],
    options: {
      strategy: Strategy;
      name?: string;
      /** Of the node of each bundle. */
      labels?: readonly Readonly<Record<string, string>>[];
      /** Between the devices of each bundle. */
      links?: readonly LinkRule[];
      signal?: AbortSignal | undefined;
    },
  ): Promise<SchedulerGroup>;
  /** Settles when the server is on record. */
  server(placement: ServerPlacement, start: ServerStart): Promise<ServerHandle>;
  nodes(): Promise<NodeRow[]>;
}
