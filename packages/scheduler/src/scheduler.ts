import type { CallEngineOptions, CreateEngineOptions } from "./engine-calls.ts";
import type { Job } from "./job.ts";
import type { RoleTeardown } from "./teardown.ts";
import type { Worker } from "./worker.ts";

export interface WaitOptions {
  /** An abort ends the wait with its reason. A role that is being created is undone; what ends or sets something goes on to its end. */
  signal?: AbortSignal;
}

/** What became of all roles that a delete ended. */
export interface TeardownReport {
  readonly roles: readonly RoleTeardown[];
}

/**
 * AReaL's Scheduler API (`areal/api/scheduler_api.py`): puts the workers of a job's roles on machines, creates engines in them and
 * calls these. Every rank must be called at the same time where a method is collective; nothing here waits for another rank.
 */
export abstract class Scheduler implements AsyncDisposable {
  /** Devices of one node: as set, else as the cluster had them when a role was placed last, before that 8 (AReaL). */
  abstract get nGpusPerNode(): number;
  /** Starts the workers of a role; ids in rank order. @throws WorkerCreationError, WorkerNotFoundError, GPUAllocationError. */
  abstract createWorkers(job: Job, options?: WaitOptions): Promise<string[]>;
  /** The workers of a role when all are ready. @throws WorkerNotFoundError, WorkerFailedError, WorkerTimeoutError. */
  abstract getWorkers(role: string, timeoutMs?: number, options?: WaitOptions): Promise<Worker[]>;
  /** Ends a role and those that share with it, or all; what is being created is given up. An unknown role is no error. */
  abstract deleteWorkers(role?: string, options?: { reverseOrder?: boolean } & WaitOptions): Promise<TeardownReport>;
  /** One more process beside each worker of the target, without devices of its own. */
  abstract forkWorkers(role: string, targetRole: string, command?: string, options?: WaitOptions): Promise<string[]>;
  /** @throws EngineImportError, EngineCreationError, WorkerFailedError, RPCConnectionError, WorkerNotFoundError. */
  abstract createEngine(workerId: string, engine: string, options?: CreateEngineOptions): Promise<void>;
  /** Environment of the worker's engine; `appliedLate` when its interpreter runs already. */
  abstract setWorkerEnv(
    workerId: string,
    env: Readonly<Record<string, string>>,
    options?: WaitOptions,
  ): Promise<{ appliedLate: boolean }>;
  /** Calls a method, at most once. `T` is what the caller knows of its result. @throws EngineCallError, WorkerFailedError, WorkerNotFoundError. */
  abstract asyncCallEngine<T = unknown>(workerId: string, method: string, options?: CallEngineOptions): Promise<T>;
  /** AReaL's second name of the same call. */
  callEngine<T = unknown>(workerId: string, method: string, options?: CallEngineOptions): Promise<T> {
    return this.asyncCallEngine<T>(workerId, method, options);
  }
  /** The items of a generator method, as they come. */
  abstract streamEngine<T = unknown>(
    workerId: string,
    method: string,
    options?: CallEngineOptions,
  ): AsyncGenerator<T, unknown>;
  abstract [Symbol.asyncDispose](): Promise<void>;
}
