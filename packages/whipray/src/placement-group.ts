import {
  type AbortOptions,
  abortable,
  GetTimeoutError,
  type LinkRule,
  type ResourceAmounts,
  toAmounts,
  toUnits,
  WhiprayError,
} from "@whipray/core";
import {
  type GroupRow,
  groupCreate,
  groupRemove,
  groupTable,
  groupWait,
  STRATEGIES,
  type Strategy,
  type WaitReason,
} from "@whipray/rpc";
import { checkKeys, checkName, oneOf } from "./actor-options.ts";
import type { Driver } from "./driver.ts";
import { checkSelector } from "./label-selector.ts";

export interface PlacementGroupOptions extends AbortOptions {
  /** Default PACK (Ray). */
  strategy?: Strategy;
  name?: string;
  /** `detached` lives until it is removed. Default: ends with its job. */
  lifetime?: "detached";
  /** Ends the group with what is missing when it was not placed by then. Default: waits. */
  timeoutMs?: number;
  /** Refuses at once what no node of the cluster as it is can ever hold. Default false: it waits for nodes that may join (Ray). */
  failFast?: boolean;
  /** Labels that the node of each bundle must have; one entry per bundle, as an actor's `labels` (Ray: bundle_label_selector). */
  labels?: readonly Readonly<Record<string, string>>[];
  /**
   * `STRICT`: all devices of a bundle in one link domain (NVLink, HCCS, …), or it waits. One rule for all bundles, or a list with
   * one entry per bundle. Default `ANY`: as near to each other as they can be.
   */
  links?: LinkRule | readonly LinkRule[];
  /** Of actors in the group that say nothing themselves; `none`: device variables are the caller's business. Default `env`. */
  isolation?: "env" | "none";
}

const KEYS: ReadonlySet<string> = new Set([
  "strategy",
  "name",
  "lifetime",
  "timeoutMs",
  "failFast",
  "labels",
  "links",
  "isolation",
  "signal",
]);

/** A bundle as a place for actors; index −1 is any bundle that fits. */
export interface BundlePlacement {
  readonly groupId: string;
  readonly bundleIndex: number;
  /** Of actors there that say nothing themselves. */
  readonly isolation?: "env" | "none";
}

/** Resources reserved on one or several machines at once, all or nothing (Ray: `placement_group`). */
export class PlacementGroup {
  readonly id: string;
  readonly strategy: Strategy;
  readonly name: string | undefined;
  /** What each bundle holds. */
  readonly bundleSpecs: readonly ResourceAmounts[];
  readonly #driver: Driver;
  readonly #isolation: "env" | "none" | undefined;

  private constructor(
    driver: Driver,
    row: Pick<GroupRow, "pgId" | "strategy" | "name">,
    bundleSpecs: readonly ResourceAmounts[],
    isolation?: "env" | "none",
  ) {
    this.#driver = driver;
    this.#isolation = isolation;
    this.id = row.pgId;
    this.strategy = row.strategy;
    this.name = row.name;
    this.bundleSpecs = bundleSpecs;
  }

  /** @throws WhiprayError `INVALID_RESOURCES`, `INVALID_ARGUMENT`, `NAME_TAKEN`. */
  static async create(
    driver: Driver,
    bundles: readonly ResourceAmounts[],
    options: PlacementGroupOptions = {},
    creatorActor?: string,
  ): Promise<PlacementGroup> {
    const { strategy = "PACK", name, lifetime, timeoutMs, labels, links, isolation, failFast, signal } = options;
    checkKeys(options, KEYS, "a placement group");
    if (!Array.isArray(bundles) || bundles.length === 0)
      throw badBundles("bundles must be a list of at least one bundle such as [{ CPU: 1 }]");
    if (!STRATEGIES.includes(strategy))
      throw invalid(`strategy must be one of ${STRATEGIES.join(", ")}; got ${String(strategy).slice(0, 64)}`);
    if (labels && labels.length !== bundles.length)
      throw invalid(`labels must have one entry per bundle: ${bundles.length}, not ${labels.length}`);
    const rules = typeof links === "string" ? bundles.map(() => links) : links;
    if (rules && rules.length !== bundles.length)
      throw invalid(`links must be one rule or have one entry per bundle: ${bundles.length}, not ${rules.length}`);
    for (const rule of rules ?? []) oneOf("links", rule, ["ANY", "STRICT"]);
    if (isolation !== undefined) oneOf("isolation", isolation, ["env", "none"]);
    const units = bundles.map((bundle, index) => toUnits(bundle, `bundle ${index}`));
    for (const [index, bundle] of units.entries())
      if (Object.keys(bundle).length === 0)
        throw badBundles(`bundle ${index} asks for nothing; give it at least one resource above 0`);
    const pgId = driver.connection.ids.next("pg");
    const request = {
      pgId,
      jobId: driver.jobId,
      ...(name !== undefined && { name: checkName("a placement group's name", name) }),
      namespace: driver.namespace,
      bundles: units.map((bundle) => ({ ...bundle })),
      strategy,
      detached: lifetime === "detached",
      ...(creatorActor !== undefined && { creatorActor }),
      ...(labels && { labels: labels.map((entry, at) => checkSelector(`labels[${at}]`, entry)) }),
      ...(rules && { links: [...rules] }),
      ...(timeoutMs !== undefined && { timeoutMs: wholeMs(timeoutMs) }),
    };
    await abortable(
      signal,
      () => driver.ask(groupCreate, request),
      (made) => driver.undoLater(made, () => driver.ask(groupRemove, { pgId })),
    );
    const group = new PlacementGroup(driver, { pgId, strategy, name }, bundles, isolation);
    if (failFast) await group.#failFast();
    return group;
  }

  async #failFast(): Promise<void> {
    const never = (await this.explain()).filter(({ kind }) => kind !== "busy");
    if (never.length === 0) return;
    await this.remove();
    throw new WhiprayError({
      code: "INFEASIBLE",
      message: `Placement group ${this.name ?? this.id} can never be placed on this cluster: ${showReasons(never)}`,
      details: { pgId: this.id, reasons: never },
    });
  }

  /** A group by its name. @throws WhiprayError `NOT_FOUND` (Ray: ValueError). */
  static async byName(
    driver: Driver,
    name: string,
    namespace = driver.namespace,
    options?: AbortOptions,
  ): Promise<PlacementGroup> {
    const { groups } = await driver.ask(groupTable, { name, namespace }, options);
    const row = groups.find((group) => group.state !== "REMOVED");
    if (!row)
      throw new WhiprayError({ code: "NOT_FOUND", message: `No placement group ${name} in namespace ${namespace}` });
    return PlacementGroup.#ofRow(driver, row);
  }

  /** The group in which an actor lives, with the isolation that it has there. @throws WhiprayError `NOT_FOUND`. */
  static async byId(
    driver: Driver,
    pgId: string,
    isolation: "env" | "none",
    options?: AbortOptions,
  ): Promise<PlacementGroup> {
    return PlacementGroup.#ofRow(driver, await rowOf(driver, pgId, options), isolation);
  }

  static #ofRow(driver: Driver, row: GroupRow, isolation?: "env" | "none"): PlacementGroup {
    return new PlacementGroup(
      driver,
      row,
      row.bundles.map((bundle) => toAmounts(bundle.units)),
      isolation,
    );
  }

  /**
   * Waits until every bundle is placed. @throws GetTimeoutError with what each bundle waits for, after `timeoutMs`;
   * WhiprayError `PLACEMENT_GROUP_REMOVED`.
   */
  async ready(options: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<this> {
    const { ready, group } = await this.#wait(options);
    if (ready) return this;
    const why = showReasons(group.reasons);
    throw new GetTimeoutError({
      message: `Placement group ${this.name ?? this.id} is ${group.state} after ${options.timeoutMs} ms: ${why || "not placed yet"}`,
      details: { pgId: this.id, state: group.state, reasons: group.reasons },
    });
  }

  /** As `ready`, but false instead of the timeout error (Ray: `pg.wait`). */
  async wait(timeoutMs = 30_000, options: AbortOptions = {}): Promise<boolean> {
    return (await this.#wait({ timeoutMs, ...options })).ready;
  }

  #wait({ timeoutMs, signal }: { timeoutMs?: number } & AbortOptions): Promise<{ ready: boolean; group: GroupRow }> {
    return this.#driver.ask(
      groupWait,
      { pgId: this.id, ...(timeoutMs !== undefined && { timeoutMs: wholeMs(timeoutMs) }) },
      { signal },
    );
  }

  /** A place in bundle `index`; −1 is any that fits. @throws WhiprayError `INVALID_ARGUMENT` (Ray: "bundle index N is invalid"). */
  bundle(index = -1): BundlePlacement {
    if (!Number.isInteger(index) || index < -1 || index >= this.bundleSpecs.length) {
      throw invalid(
        `placement group bundle index ${index} is invalid: it has bundles 0 to ${this.bundleSpecs.length - 1}`,
      );
    }
    const isolation = this.#isolation;
    return { groupId: this.id, bundleIndex: index, ...(isolation && { isolation }) };
  }

  /** State, nodes, devices and reasons, as the head has them now. */
  table(options?: AbortOptions): Promise<GroupRow> {
    return rowOf(this.#driver, this.id, options);
  }

  /**
   * Why it waits, bundle by bundle: what is short, how much, on which node it would come closest. `infeasible`: no node could ever hold it;
   * `strategy`: each bundle alone, but not as the strategy wants them; `busy`: when others end. Empty when it is placed.
   */
  async explain(options?: AbortOptions): Promise<readonly WaitReason[]> {
    return (await this.table(options)).reasons;
  }

  /** Gives everything back and ends what runs inside; again is fine. An abort ends the wait, not the removal. */
  async remove(options?: AbortOptions): Promise<void> {
    await this.#driver.ask(groupRemove, { pgId: this.id }, options);
  }
}

function showReasons(reasons: readonly WaitReason[]): string {
  return reasons.map((reason) => `bundle ${reason.bundle}: ${reason.text}`).join("; ");
}

async function rowOf(driver: Driver, pgId: string, options?: AbortOptions): Promise<GroupRow> {
  const { groups } = await driver.ask(groupTable, { pgId }, options);
  const row = groups[0];
  if (!row) throw new WhiprayError({ code: "NOT_FOUND", message: `Placement group ${pgId} is not known (any more)` });
  return row;
}

/** The wire counts whole milliseconds. @throws WhiprayError `INVALID_ARGUMENT` for what is no time. */
function wholeMs(timeoutMs: number): number {
  if (!(timeoutMs >= 0 && timeoutMs <= Number.MAX_SAFE_INTEGER))
    throw invalid(`timeoutMs must be 0 or more; got ${timeoutMs}`);
  return Math.ceil(timeoutMs);
}

function invalid(message: string): WhiprayError {
  return new WhiprayError({ code: "INVALID_ARGUMENT", message });
}

/** As the head says it to those who ask it without this library. */
function badBundles(message: string): WhiprayError {
  return new WhiprayError({ code: "INVALID_RESOURCES", message });
}
