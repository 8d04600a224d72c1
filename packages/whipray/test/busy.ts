import type { ActorHandle, ActorOptions, Cluster } from "../src/index.ts";
import type { Busy } from "./busy-actor.ts";

/** Module of the actors that tests keep busy. */
export const BUSY_MODULE = new URL("./busy-actor.ts", import.meta.url);

export function busyIn(cluster: Cluster, options: ActorOptions<Busy> = {}): Promise<ActorHandle<Busy>> {
  return cluster.actor<Busy>(BUSY_MODULE, "Busy").options(options).create();
}

/** What a promise rejects with, or its value. */
export function caught(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch((error: unknown) => error);
}
