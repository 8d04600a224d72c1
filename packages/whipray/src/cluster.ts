import { type AbortOptions, abortable, type ResourceAmounts, toAmounts, WhiprayError } from "@whipray/core";
import {
  type ActorRow,
  type ActorSpec,
  actorByName,
  actorCreate,
  actorKill,
  actorsList,
  type ClusterEvent,
  encodeValues,
  type GroupRow,
  groupTable,
  type NodeRow,
  nodesList,
  Tensor,
} from "@whipray/rpc";
import { handleTarget, makeHandle } from "./actor-handle.ts";
import { ActorLink } from "./actor-link.ts";
import { type ActorOptions, capturedOptions, specOptions } from "./actor-options.ts";
import type { ActorHandle } from "./actor-types.ts";
import { clusterEvents, type EventOptions } from "./cluster-events.ts";
import { codeOf, originalUrl } from "./code-of.ts";
import type { Driver } from "./driver.ts";
import { type GetOptions, getRefs, type WaitOptions, waitRefs } from "./get-wait.ts";
import { listObjects, type NodeObjects } from "./object-list.ts";
import { ObjectRef } from "./object-ref.ts";
import { PlacementGroup, type PlacementGroupOptions } from "./placement-group.ts";
import { checkRuntimeEnv } from "./runtime-env.ts";
import type { AnyFunction, RemoteFunction } from "./task-types.ts";
import { Tasks } from "./tasks.ts";

/** An actor class that is about to be made. */
export interface ActorBuilder<T> {
  options(options: ActorOptions): ActorBuilder<T>;
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
    this.#tasks = new Tasks(driver);
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
  task<F extends AnyFunction>(module: URL | string, exportName = "default"): RemoteFunction<F> {
    return this.#tasks.make<F>(moduleUrl(module, "A task"), exportName);
  }

  async #create<T>(url: URL, exportName: string, given: ActorOptions, args: unknown[]): Promise<ActorHandle<T>> {
    const driver = this.#driver;
    const options = driver.runtimeEnvs.within(given);
    const actorId = driver.connection.ids.next("actor");
    const { signal } = options;
    const values = await abortable(signal, () => this.#values(args));
    const checked = specOptions(capturedOptions(options, this.#inside), driver.namespace);
    const runtimeEnv = checkRuntimeEnv(options.runtimeEnv);
    const spec = {
      ...checked,
      runtimeEnv: await abortable(signal, () => driver.runtimeEnvs.spec(runtimeEnv)),
      actorId,
      jobId: driver.jobId,
      ...(this.#inside && { ownerActor: this.#inside.actorId }),
      className: exportName,
      module: originalUrl(url),
      exportName,
      ...codeOf(url),
      args: encodeValues(values, "args"),
    };
    const created = await abortable(
      signal,
      () => driver.ask(actorCreate, { spec, getIfExists: options.getIfExists ?? false }),
      // Its own id: one that had the name already lives on.
      (made) => driver.undoLater(made, () => driver.ask(actorKill, { actorId, noRestart: true })),
    );
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
  async getActor<T>(name: string, namespace = this.namespace, options?: AbortOptions): Promise<ActorHandle<T>> {
    const { actor } = await this.#driver.ask(actorByName, { name, namespace }, options);
    return makeHandle<T>(this.#driver, new ActorLink(this.#driver, actor.actorId), actor.className);
  }

  /** Waits until the actor's constructor is done. @throws ActorDiedError, DEADLINE_EXCEEDED. */
  async ready(handle: unknown, options: { timeoutMs?: number } & AbortOptions = {}): Promise<void> {
    await abortable(options.signal, () => handleTarget(handle).link.ready(options));
  }

  /** Where an actor is and what it holds. */
  actorRow(handle: unknown, options?: AbortOptions): Promise<ActorRow> {
    return handleTarget(handle).link.row(options);
  }

  /** Ends an actor at once (Ray: `ray.kill`); with `noRestart: false` it may come back. An abort ends the wait, not the kill. */
  async kill(handle: unknown, options: { noRestart?: boolean } & AbortOptions = {}): Promise<void> {
    const { noRestart = true, signal } = options;
    await this.#driver.ask(actorKill, { actorId: handleTarget(handle).link.actorId, noRestart }, { signal });
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
  listObjects(options: AbortOptions = {}): Promise<NodeObjects[]> {
    return abortable(options.signal, () => listObjects(this.#driver));
  }

  async nodes(options?: AbortOptions): Promise<NodeRow[]> {
    return (await this.#driver.ask(nodesList, {}, options)).nodes;
  }

  async listActors(options?: AbortOptions): Promise<ActorRow[]> {
    return (await this.#driver.ask(actorsList, {}, options)).actors;
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
