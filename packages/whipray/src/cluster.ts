import { type ResourceAmounts, toAmounts, WhiprayError } from "@whipray/core";
import {
  type ActorRow,
  type ActorSpec,
  actorByName,
  actorCreate,
  actorKill,
  actorsList,
  encodeValues,
  type GroupRow,
  groupTable,
  type NodeRow,
  nodesList,
  type TaskFilter,
  type TaskRow,
  Tensor,
} from "@whipray/rpc";
import { taskContext } from "@whipray/worker";
import { handleTarget, makeHandle } from "./actor-handle.ts";
import { ActorLink } from "./actor-link.ts";
import { type ActorOptions, capturedOptions, specOptions } from "./actor-options.ts";
import type { ActorHandle } from "./actor-types.ts";
import { type CancelOptions, cancelTask } from "./cancelling.ts";
import { codeHash } from "./code-hash.io.ts";
import type { Driver } from "./driver.ts";
import { type GetOptions, getRefs, type WaitOptions, waitRefs } from "./get-wait.ts";
import { type ListOptions, matching } from "./list-options.ts";
import { listObjects, type NodeObjects, type ObjectRow } from "./object-list.ts";
import { ObjectRef } from "./object-ref.ts";
import { PlacementGroup, type PlacementGroupOptions } from "./placement-group.ts";
import { type RuntimeContext, runtimeContext } from "./runtime-context.ts";
import type { TaskDefaults } from "./task-options.ts";
import type { AnyFunction, RemoteFunction } from "./task-types.ts";
import { Tasks } from "./tasks.ts";

/** An actor class that is about to be made. */
export interface ActorBuilder<T> {
  options(options: ActorOptions): ActorBuilder<T>;
  /**
   * Makes the actor with these constructor arguments; settles when the cluster has it on record, not when it runs: errors of
   * the constructor come with the first call, or with `cluster.ready(handle)`.
   */
  // biome-ignore lint/suspicious/noExplicitAny: constructor arguments of a class that is known by its interface alone
  create(...args: any[]): Promise<ActorHandle<T>>;
}

/** A running cluster as this program sees it. `await using` ends it. */
export class Cluster implements AsyncDisposable {
  readonly #driver: Driver;
  readonly #end: () => Promise<void>;
  readonly #inside: ActorSpec | undefined;
  readonly #tasks: Tasks;
  #ending: Promise<void> | undefined;

  /** Not for users: `init()` makes clusters. `end` stops what `init` started; `inside` is the actor that this process hosts. */
  constructor(driver: Driver, end: () => Promise<void>, inside?: ActorSpec) {
    this.#driver = driver;
    this.#end = end;
    this.#inside = inside;
    this.#tasks = new Tasks(driver, inside);
  }

  /** This process' job. */
  get jobId(): string {
    return this.#driver.jobId;
  }
  get namespace(): string {
    return this.#driver.namespace;
  }
  get id(): string {
    return this.#driver.cluster;
  }

  /** An actor class by its module and export; `T` is its interface, the class itself loads in the worker. */
  actor<T>(module: URL | string, exportName = "default"): ActorBuilder<T> {
    const url = moduleUrl(module, "An actor");
    const build = (options: ActorOptions): ActorBuilder<T> => ({
      options: (more) => build({ ...options, ...more }),
      create: (...args) => this.#create<T>(url, exportName, options, args),
    });
    return build({});
  }

  /**
   * A function by its module and export, to be run in worker processes: `await square(4)`, or `square.remote(4)` for a ref
   * (Ray: `@ray.remote`). `F` is its type, the function itself loads in the workers.
   */
  task<F extends AnyFunction>(
    module: URL | string,
    exportName = "default",
    defaults: TaskDefaults = {},
  ): RemoteFunction<F> {
    return this.#tasks.make<F>(moduleUrl(module, "A task"), exportName, defaults);
  }

  /** Cancels the task whose result `ref` is (Ray: `ray.cancel`). @throws WhiprayError `INVALID_ARGUMENT` for another ref. */
  cancel(ref: ObjectRef, options?: CancelOptions): void {
    cancelTask(ref, options);
  }

  /** Where the running code is, and what it has (Ray: `get_runtime_context()`). */
  runtimeContext(): RuntimeContext {
    return runtimeContext(this.#driver);
  }

  async #create<T>(url: URL, exportName: string, options: ActorOptions, args: unknown[]): Promise<ActorHandle<T>> {
    const driver = this.#driver;
    const actorId = driver.connection.ids.next("actor");
    const spec = {
      ...specOptions(capturedOptions(options, taskContext()?.function ?? this.#inside), driver.namespace),
      actorId,
      jobId: driver.jobId,
      ...(this.#inside && { ownerActor: this.#inside.actorId }),
      className: exportName,
      module: url.href,
      exportName,
      codeHash: await codeHash(url),
      args: encodeValues(await this.#values(args), "args"),
    };
    const created = await driver.ask(actorCreate, { spec, getIfExists: options.getIfExists ?? false });
    return makeHandle<T>(driver, new ActorLink(driver, created.actorId), exportName);
  }

  /** Refs among a constructor's arguments are values when it runs, as in calls. It may run again later: their objects stay for that. */
  #values(args: readonly unknown[]): Promise<unknown[]> {
    const { objects } = this.#driver;
    const value = (arg: unknown): unknown => {
      if (!(arg instanceof ObjectRef)) return arg;
      arg.source.passedOn();
      return objects.argument(arg);
    };
    return Promise.all(args.map(value));
  }

  /** A named actor. @throws WhiprayError `NOT_FOUND` (Ray: ValueError). */
  async getActor<T>(name: string, namespace?: string): Promise<ActorHandle<T>> {
    const { actor } = await this.#driver.ask(actorByName, { name, namespace: namespace ?? this.namespace });
    return makeHandle<T>(this.#driver, new ActorLink(this.#driver, actor.actorId), actor.className);
  }

  /** Waits until the actor's constructor is done. @throws ActorDiedError, DEADLINE_EXCEEDED. */
  async ready(handle: unknown, options: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<void> {
    await handleTarget(handle).link.ready(options);
  }

  /** Where an actor is and what it holds. */
  actorRow(handle: unknown): Promise<ActorRow> {
    return handleTarget(handle).link.row();
  }

  /** Ends an actor at once (Ray: `ray.kill`); with `noRestart: false` it may come back. */
  async kill(handle: unknown, options: { noRestart?: boolean } = {}): Promise<void> {
    await this.#driver.ask(actorKill, {
      actorId: handleTarget(handle).link.actorId,
      noRestart: options.noRestart ?? true,
    });
  }

  /** Reserves resources; settles when the cluster has it on record. `await group.ready()` waits for the place. */
  placementGroup(bundles: readonly ResourceAmounts[], options: PlacementGroupOptions = {}): Promise<PlacementGroup> {
    return PlacementGroup.create(this.#driver, bundles, options, this.#inside?.actorId);
  }

  getPlacementGroup(name: string, namespace?: string): Promise<PlacementGroup> {
    return PlacementGroup.byName(this.#driver, name, namespace);
  }

  removePlacementGroup(group: PlacementGroup): Promise<void> {
    return group.remove();
  }

  async placementGroupTable(): Promise<GroupRow[]> {
    return (await this.#driver.ask(groupTable, {})).groups;
  }

  async listPlacementGroups(options?: ListOptions<GroupRow>): Promise<GroupRow[]> {
    return matching(await this.placementGroupTable(), options);
  }

  /**
   * Puts a value: a ref that can be passed on. Arrays in values above 100 KiB are copied once, into shared memory: they must not change
   * before this settles, which is when the store has room for them. @throws ObjectStoreFullError, OutOfDiskError.
   */
  put<T>(value: T): Promise<ObjectRef<T>> {
    return this.#driver.objects.put(value);
  }

  get<T>(ref: ObjectRef<T>, options?: GetOptions): Promise<T>;
  get<T>(refs: readonly ObjectRef<T>[], options?: GetOptions): Promise<T[]>;
  get(refs: ObjectRef | readonly ObjectRef[], options?: GetOptions): Promise<unknown> {
    return this.#driver.until(getRefs(this.#driver.connection.clock, refs, options));
  }

  wait<T extends ObjectRef>(refs: readonly T[], options?: WaitOptions): Promise<[T[], T[]]> {
    return this.#driver.until(waitRefs(this.#driver.connection.clock, refs, options));
  }

  /**
   * Gives back the shared memory of a value that was got: its arrays have length 0 from now on (also `ref.release()`). False for values
   * that lie in no shared memory.
   */
  release(value: ArrayBufferView | Tensor): boolean {
    const memory = value instanceof Tensor ? value.data.buffer : value.buffer;
    return this.#driver.objects.releaseMemory(memory);
  }

  /** What lies in the object stores of the nodes: who owns it, who holds it, what was spilled. */
  listObjects(options?: ListOptions<ObjectRow>): Promise<NodeObjects[]> {
    return listObjects(this.#driver, options);
  }

  async nodes(): Promise<NodeRow[]> {
    return (await this.#driver.ask(nodesList, {})).nodes;
  }

  async listActors(options?: ListOptions<ActorRow>): Promise<ActorRow[]> {
    return matching((await this.#driver.ask(actorsList, {})).actors, options);
  }

  /** Tasks as their callers last told, once a second: the living first, then the latest that ended; the head keeps 20 000. */
  listTasks(options?: ListOptions<TaskFilter>): Promise<TaskRow[]> {
    return this.#tasks.list(options);
  }

  /** Sum of all living nodes, as people write it: `{ CPU: 8, GPU: 2, memory: … }`. */
  async clusterResources(): Promise<Record<string, number>> {
    return sum((await this.nodes()).filter((node) => node.state !== "DEAD").map((node) => toAmounts(node.total)));
  }

  /** What is free of it now. A resource with nothing free is absent (Ray). */
  async availableResources(): Promise<Record<string, number>> {
    const alive = (await this.nodes()).filter((node) => node.state !== "DEAD");
    return sum(
      alive.map((node) => {
        const free = { ...node.view.free };
        for (const device of node.devices) {
          const units = node.view.devices[device.uuid] ?? 0;
          if (units > 0) free[device.resource] = (free[device.resource] ?? 0) + units;
        }
        return toAmounts(free);
      }),
    );
  }

  /** Says goodbye and stops what `init` started; again is fine. */
  close(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function moduleUrl(module: URL | string, whose: string): URL {
  const url = new URL(module);
  if (url.protocol === "file:") return url;
  throw new WhiprayError({
    code: "INVALID_ARGUMENT",
    message: `${whose}'s module must be a file: URL, as from new URL("./counter.ts", import.meta.url); got ${url.protocol}`,
  });
}

function sum(rows: readonly Record<string, number>[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const row of rows)
    for (const [name, amount] of Object.entries(row)) if (amount > 0) total[name] = (total[name] ?? 0) + amount;
  return total;
}
