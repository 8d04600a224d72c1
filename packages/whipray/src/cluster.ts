import {
  type AbortOptions,
  ActorHandleNotFoundError,
  abortable,
  type ResourceAmounts,
  toAmounts,
  WhiprayError,
} from "@whipray/core";
import {
  type ActorRow,
  type ActorSpec,
  actorCreate,
  actorKill,
  actorsList,
  type ClusterEvent,
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
import { type CancelOptions, cancelRef } from "./cancelling.ts";
import { clusterEvents, type EventOptions } from "./cluster-events.ts";
import { codeOf, originalUrl } from "./code-of.ts";
import type { Driver } from "./driver.ts";
import { type GetOptions, getRefs, type WaitOptions, waitRefs } from "./get-wait.ts";
import { forgetAtDeath } from "./kept-arguments.ts";
import { type ListOptions, matching } from "./list-options.ts";
import { listObjects, type NodeObjects, type ObjectRow } from "./object-list.ts";
import { ObjectRef } from "./object-ref.ts";
import { PlacementGroup, type PlacementGroupOptions } from "./placement-group.ts";
import { isPythonClass, type PythonOptions } from "./python/python-options.ts";
import { type ActorSource, pythonSource } from "./python/python-source.ts";
import { type RuntimeContext, runtimeContext } from "./runtime-context.ts";
import { checkRuntimeEnv } from "./runtime-env.ts";
import type { TaskDefaults } from "./task-options.ts";
import type { AnyFunction, RemoteFunction } from "./task-types.ts";
import { Tasks } from "./tasks.ts";

/** An actor class that is about to be made. */
export interface ActorBuilder<T> {
  options(options: ActorOptions<T>): ActorBuilder<T>;
  /**
   * Makes the actor with these constructor arguments; settles when the cluster has it on record, not when it runs: errors of
   * the constructor come with the first call, or with `cluster.ready(handle)`. When the option `signal` aborts before, the actor is ended.
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
  actor<T>(module: URL | string, exportName?: string): ActorBuilder<T>;
  /** A Python class, `package.module:Class`, in an interpreter of its own (docs/actors.md). */
  actor<T>(pythonClass: string, python: PythonOptions): ActorBuilder<T>;
  actor<T>(module: URL | string, from?: string | PythonOptions): ActorBuilder<T> {
    const build = (source: ActorSource, options: ActorOptions): ActorBuilder<T> => ({
      options: (more) => build(source, { ...options, ...more }),
      create: (...args) => this.#create<T>(source, options, args),
    });
    if (typeof from === "object" || (isPythonClass(module) && from === undefined))
      return build(pythonSource(String(module), from ?? {}), {});
    const exportName = from ?? "default";
    return build({ url: moduleUrl(module, "An actor"), exportName, className: exportName, wrap: (args) => args }, {});
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

  /**
   * Cancels the task or the actor's call whose result `ref` is (Ray: `ray.cancel`): one that waits never runs, one that runs sees its signal
   * abort. @throws WhiprayError `INVALID_ARGUMENT` for another ref, and for a call of an actor by force.
   */
  cancel(ref: ObjectRef, options?: CancelOptions): void {
    cancelRef(ref, options);
  }

  /** Where the running code is, and what it has (Ray: `get_runtime_context()`). */
  runtimeContext(): RuntimeContext {
    return runtimeContext(this.#driver);
  }

  async #create<T>(source: ActorSource, given: ActorOptions, args: unknown[]): Promise<ActorHandle<T>> {
    const { connection, scopes } = this.#driver;
    const actorId = connection.ids.next("actor");
    try {
      return await this.#made<T>(actorId, source, given, args);
    } catch (error) {
      scopes.forget(actorId);
      throw error;
    }
  }

  async #made<T>(actorId: string, source: ActorSource, given: ActorOptions, args: unknown[]): Promise<ActorHandle<T>> {
    const { url, exportName, className, wrap } = source;
    source.check?.(given);
    const driver = this.#driver;
    const options = driver.runtimeEnvs.within(given);
    const { signal } = options;
    const encoded = await abortable(signal, () => this.#arguments(actorId, args, wrap));
    const checked = specOptions(capturedOptions(options, taskContext()?.function ?? this.#inside), driver.namespace);
    const runtimeEnv = checkRuntimeEnv(options.runtimeEnv);
    const spec = {
      ...checked,
      runtimeEnv: await abortable(signal, () => driver.runtimeEnvs.spec(runtimeEnv)),
      actorId,
      jobId: driver.jobId,
      ...(this.#inside && { ownerActor: this.#inside.actorId }),
      className,
      module: originalUrl(url),
      exportName,
      ...codeOf(url),
      args: encoded,
    };
    const created = await abortable(
      signal,
      () => driver.ask(actorCreate, { spec, getIfExists: options.getIfExists ?? false }),
      // Its own id: one that had the name already lives on.
      (made) => driver.undoLater(made, () => driver.ask(actorKill, { actorId, noRestart: true })),
    );
    const limit = created.existing ? undefined : spec.maxPendingCalls;
    // Only what nobody else can find ends with its handles.
    const counted = spec.name === undefined && !spec.detached ? "made" : undefined;
    if (counted) driver.scopes.made(actorId);
    if (created.existing) driver.scopes.forget(actorId);
    else if (driver.scopes.keeps(actorId)) void forgetAtDeath(driver, actorId);
    return makeHandle<T>(driver, new ActorLink(driver, created.actorId, limit), { className, counted });
  }

  /** Refs among a constructor's arguments are values when it runs, as in calls. It may run again later: their objects stay for that. */
  async #arguments(actorId: string, args: readonly unknown[], wrap: ActorSource["wrap"]): Promise<Uint8Array[]> {
    const { objects, scopes } = this.#driver;
    const value = (arg: unknown): unknown => {
      if (!(arg instanceof ObjectRef)) return arg;
      arg.source.passedOn();
      return objects.argument(arg);
    };
    const given = wrap(await Promise.all(args.map(value)));
    return scopes.keeping(actorId, () => encodeValues(given, "args"));
  }

  /**
   * A named actor. One that this process looked up within the last 250 ms comes without a question to the head, never after its end could be
   * known. @throws WhiprayError `ACTOR_NOT_FOUND` (Ray: ValueError).
   */
  async getActor<T>(name: string, namespace = this.namespace, options?: AbortOptions): Promise<ActorHandle<T>> {
    const actor = await this.#driver.namedActors.find(name, namespace, options);
    const link = new ActorLink(this.#driver, actor.actorId, actor.maxPendingCalls ?? -1);
    return makeHandle<T>(this.#driver, link, { className: actor.className });
  }

  /** Waits until the actor's constructor is done. @throws ActorDiedError, DEADLINE_EXCEEDED. */
  async ready(handle: unknown, options: { timeoutMs?: number } & AbortOptions = {}): Promise<void> {
    await abortable(options.signal, () => this.#link(handle).ready(options));
  }

  /** Where an actor is and what it holds. */
  actorRow(handle: unknown, options?: AbortOptions): Promise<ActorRow> {
    return this.#link(handle).row(options);
  }

  /** @throws WhiprayError `INVALID_ARGUMENT` for what is no handle; ActorHandleNotFoundError for that of another cluster. */
  #link(handle: unknown): ActorLink {
    const { link, driver } = handleTarget(handle);
    if (driver === this.#driver) return link;
    throw new ActorHandleNotFoundError({
      message: `The handle of ${link.actorId} was made by another connection, to cluster ${driver.cluster || "(none)"}; this one is to ${this.id}`,
      details: { actorId: link.actorId },
    });
  }

  /**
   * Ends an actor when the calls that were made before are done; it cleans up, and does not restart (Ray: `__ray_terminate__`). One that is
   * dead already is fine.
   */
  async terminate(handle: unknown, options: { timeoutMs?: number } & AbortOptions = {}): Promise<void> {
    await abortable(options.signal, () => this.#link(handle).terminate(options));
  }

  /**
   * Ends an actor at once (Ray: `ray.kill`); with `noRestart: false` it may come back. One that is dead already is fine. An abort ends the
   * wait, not the kill.
   */
  async kill(handle: unknown, options: { noRestart?: boolean } & AbortOptions = {}): Promise<void> {
    const { noRestart = true, signal } = options;
    await this.#driver.ask(actorKill, { actorId: this.#link(handle).actorId, noRestart }, { signal });
  }

  /** Reserves resources; settles when the cluster has it on record. `await group.ready()` waits for the place. */
  placementGroup(bundles: readonly ResourceAmounts[], options: PlacementGroupOptions = {}): Promise<PlacementGroup> {
    return PlacementGroup.create(this.#driver, bundles, options, this.#inside?.actorId);
  }

  getPlacementGroup(name: string, namespace?: string, options?: AbortOptions): Promise<PlacementGroup> {
    return PlacementGroup.byName(this.#driver, name, namespace, options);
  }

  removePlacementGroup(group: PlacementGroup, options?: AbortOptions): Promise<void> {
    return group.remove(options);
  }

  async placementGroupTable(options?: AbortOptions): Promise<GroupRow[]> {
    return (await this.#driver.ask(groupTable, {}, options)).groups;
  }

  async listPlacementGroups(options?: ListOptions<GroupRow>): Promise<GroupRow[]> {
    return matching(await this.placementGroupTable(), options);
  }

  /**
   * Puts a value: a ref that can be passed on. Arrays in values above 100 KiB are copied once, into shared memory: they must not change
   * before this settles, which is when the store has room for them; after an abort, not before the store has done with them either.
   * @throws ObjectStoreFullError, OutOfDiskError.
   */
  put<T>(value: T, options: AbortOptions = {}): Promise<ObjectRef<T>> {
    const dispose = (put: Promise<ObjectRef<T>>): void => void put.then((ref) => ref.dispose()).catch(() => {}); // nobody waits
    return abortable(options.signal, () => this.#driver.objects.put(value), dispose);
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
  listObjects(options?: ListOptions<ObjectRow> & AbortOptions): Promise<NodeObjects[]> {
    return abortable(options?.signal, () => listObjects(this.#driver, options));
  }

  async nodes(options?: AbortOptions): Promise<NodeRow[]> {
    return (await this.#driver.ask(nodesList, {}, options)).nodes;
  }

  async listActors(options?: ListOptions<ActorRow> & AbortOptions): Promise<ActorRow[]> {
    return matching((await this.#driver.ask(actorsList, {}, options)).actors, options);
  }

  /** Tasks as their callers last told, once a second: the living first, then the latest that ended; the head keeps 20 000. */
  listTasks(options?: ListOptions<TaskFilter> & AbortOptions): Promise<TaskRow[]> {
    return abortable(options?.signal, () => this.#tasks.list(options));
  }

  /**
   * What happened in the cluster, and what happens from now on: nodes, placement groups, actors, jobs, devices (Ray: `ray list
   * cluster-events`). The head keeps the last 10 000, in its memory. Who reads too slowly, or asks for what is gone, gets an `EVENTS_LOST` in
   * their place. Goes on over a restart of the head, whose first event is `HEAD_STARTED`.
   * @throws WhiprayError `INVALID_ARGUMENT` for an unknown type, a `limit` above 10 000, a `since` that has not happened; the signal's reason.
   */
  events(options?: EventOptions): AsyncGenerator<ClusterEvent, void> {
    return clusterEvents(this.#driver, options);
  }

  /** Sum of all living nodes, as people write it: `{ CPU: 8, GPU: 2, memory: … }`. */
  async clusterResources(options?: AbortOptions): Promise<Record<string, number>> {
    const nodes = await this.nodes(options);
    return sum(nodes.filter((node) => node.state !== "DEAD").map((node) => toAmounts(node.total)));
  }

  /** What is free of it now. A resource with nothing free is absent (Ray). */
  async availableResources(options?: AbortOptions): Promise<Record<string, number>> {
    const alive = (await this.nodes(options)).filter((node) => node.state !== "DEAD");
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
