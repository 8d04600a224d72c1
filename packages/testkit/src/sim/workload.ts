import { type RandomSource, seededRandom } from "@whipray/core";
import { STARVATION_MS } from "@whipray/head";
import { STRATEGIES } from "@whipray/rpc";
import { disagreements, leftovers } from "./calm.ts";
import { ObjectSteps } from "./object-steps.ts";
import { SimDriver } from "./sim-driver.ts";
import { SYNC_MS } from "./sim-head.ts";
import type { SimRaylet } from "./sim-raylet.ts";
import { type SimCluster, type SimulateOptions, simulate } from "./simulate.ts";

/** Random steps of one seed in a long run, and in one of many seeds. */
export const STEPS = 60;
export const SHORT_STEPS = 20;
/** Longest outages of a schedule: below what ends a driver's session (30 s). */
const HEAD_OUTAGE_MS = 6_000;
/** When nothing goes wrong any more, all agree within this, and nothing is left when everything was taken away. */
const CALM_MS = 90_000;
const END_MS = 40_000;
/** A short seed is calm when all have agreed for so long. */
const AGREED_MS = 3_000;
const LOOK_MS = 500;

/** Everything that users do and everything that goes wrong, in an order that repeats with the seed. */
class Schedule {
  readonly #cluster: SimCluster;
  readonly #random: RandomSource;
  readonly #driver: SimDriver;
  readonly #groups: string[] = [];
  readonly #actors: string[] = [];
  /** Other drivers, which come and go. */
  readonly #others: SimDriver[] = [];
  readonly #objects: ObjectSteps;

  constructor(cluster: SimCluster, driver: SimDriver) {
    this.#cluster = cluster;
    this.#driver = driver;
    this.#random = seededRandom(cluster.seed ^ 0x10ad);
    const of = { anyone: () => this.#anyone(), actorId: () => this.#pick(this.#actors) };
    this.#objects = new ObjectSteps({ cluster, random: this.#random, ...of });
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[this.#random.below(Math.max(1, from.length))];
  }

  #chance(of: number): boolean {
    return this.#random.next() < of;
  }

  /** What came of it is in the history; nobody waits for it here. */
  #let(promise: Promise<unknown>): void {
    promise.catch(() => undefined);
  }

  #amounts(): Record<string, number> {
    const GPU = this.#pick([0, 0, 0.5, 1])!;
    return { CPU: this.#pick([1, 1, 2])!, ...(GPU > 0 && { GPU }) };
  }

  #living(): SimRaylet | undefined {
    return this.#pick(this.#cluster.raylets.filter((raylet) => raylet.alive));
  }

  readonly #steps: readonly (readonly [weight: number, step: () => void | Promise<void>])[] = [
    [6, () => this.#createGroup()],
    [9, () => this.#createActor()],
    [3, () => this.#let(this.#driver.removeGroup(this.#pick(this.#groups) ?? "pg_0"))],
    [3, () => this.#let(this.#driver.killActor(this.#pick(this.#actors) ?? "actor_0", this.#chance(0.5)))],
    [16, () => this.#call()],
    [10, () => this.#task()],
    [1, () => this.#gang()],
    [2, () => this.#driverComes()],
    [2, () => this.#driverEnds()],
    [3, () => this.#pick(this.#living()?.liveWorkers ?? [])?.child.kill("SIGKILL")],
    [2, () => this.#nodeDies()],
    [3, () => this.#nodeReturns()],
    [2, () => this.#pauses()],
    [4, () => this.#parts()],
    [4, () => this.#cluster.network.heal()],
    [3, () => this.#cluster.network.cutBetween(this.#living()?.machine ?? "n1", this.#pick(["head", "d1"])!)],
    [1, () => this.#cluster.network.cutBetween("head", "d1")],
    [2, () => this.#headRestarts()],
    [1, () => this.#diskFails()],
    [12, () => this.#cluster.run(this.#random.below(3_000))],
  ];

  #createGroup(): void {
    const pgId = this.#cluster.world.ids.next("pg");
    this.#groups.push(pgId);
    const bundles = Array.from({ length: 1 + this.#random.below(3) }, () => this.#amounts());
    const name = this.#chance(0.3) ? `group-${this.#random.below(3)}` : undefined;
    const more = { pgId, strategy: this.#pick(STRATEGIES)!, detached: this.#chance(0.2), ...(name && { name }) };
    this.#let(this.#anyone().createGroup(bundles, more));
  }

  /** A group that wants the whole cluster: it waits, starves, and holds what frees up. */
  #gang(): void {
    const pgId = this.#cluster.world.ids.next("pg");
    this.#groups.push(pgId);
    this.#let(this.#driver.createGroup(Array(6).fill({ CPU: 2, GPU: 1 }), { pgId, strategy: this.#pick(STRATEGIES)! }));
  }

  #anyone(): SimDriver {
    return this.#pick([this.#driver, this.#driver, ...this.#others])!;
  }

  #driverComes(): void {
    const driver = new SimDriver(this.#cluster.world, `d${2 + this.#cluster.drivers.length}`);
    this.#cluster.drivers.push(driver);
    this.#others.push(driver);
    this.#let(driver.open());
  }

  /** What it made and did not detach ends with it. */
  #driverEnds(): void {
    this.#others.shift()?.kill();
  }

  #createActor(): void {
    const actorId = this.#cluster.world.ids.next("actor");
    this.#actors.push(actorId);
    const pgId = this.#chance(0.5) ? this.#pick(this.#groups) : undefined;
    const name = this.#chance(0.2) ? `actor-${this.#random.below(3)}` : undefined;
    const GPU = this.#pick([0, 0, 0.5, 1])!;
    const resources = { CPU: 1, ...(GPU > 0 && { GPU }) };
    const detached = this.#chance(0.2);
    const fixed = { actorId, maxRestarts: this.#pick([-1, -1, 0, 2])!, fence: this.#chance(0.3), detached };
    const more = { ...fixed, ...(pgId && { pgId }), ...(name && { name }) };
    this.#let(this.#anyone().createActor(resources, more));
  }

  #call(): void {
    const actorId = this.#pick(this.#actors);
    if (actorId === undefined) return;
    const method = this.#chance(0.1) ? "crash" : "run";
    this.#let(this.#anyone().call(actorId, method, { ms: this.#pick([0, 0, 500, 5_000])!, timeoutMs: 15_000 }));
  }

  #task(): void {
    const method = this.#pick(["run", "run", "run", "crash", "nest", "nest"] as const)!;
    const pgId = this.#chance(0.2) ? this.#pick(this.#groups) : undefined;
    const more = { ms: this.#pick([0, 0, 500, 5_000])!, timeoutMs: 15_000, pgId };
    this.#let(this.#anyone().task(this.#amounts(), method, more));
  }

  #nodeDies(): void {
    const raylet = this.#living();
    if (this.#chance(0.5)) raylet?.kill();
    else raylet?.powerOff();
  }

  #nodeReturns(): void {
    const raylet = this.#pick(this.#cluster.raylets.filter((one) => !one.alive));
    if (raylet) this.#let(raylet.start());
  }

  async #pauses(): Promise<void> {
    const raylet = this.#living();
    raylet?.pause();
    await this.#cluster.run(this.#random.below(15_000));
    raylet?.resume();
  }

  #parts(): void {
    const { network } = this.#cluster;
    const machine = this.#living()?.machine ?? "n1";
    const other = this.#pick(["head", "head", "n1", "n2", "d1"])!;
    if (machine === other) return;
    if (this.#chance(0.7)) network.lose(machine, other);
    if (this.#chance(0.7)) network.lose(other, machine);
  }

  async #diskFails(): Promise<void> {
    const { head } = this.#cluster;
    if (this.#chance(0.5)) head.diskFull = true;
    else head.syncMs = 5_000;
    this.#createGroup();
    this.#createActor();
    await this.#cluster.run(this.#random.below(8_000));
    head.diskFull = false;
    head.syncMs = SYNC_MS;
  }

  async #headRestarts(): Promise<void> {
    const { head } = this.#cluster;
    head.kill();
    await this.#cluster.run(this.#random.below(HEAD_OUTAGE_MS));
    // Sometimes it dies again while it reads its journal.
    if (this.#chance(0.2)) {
      this.#let(head.start());
      await this.#cluster.run(this.#random.below(3));
      head.kill();
    }
    await this.#cluster.until(head.start());
  }

  step(): void | Promise<void> {
    const steps = [...this.#steps, ...this.#objects.all];
    let at = this.#random.below(steps.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, step] of steps) {
      at -= weight;
      if (at >= 0) continue;
      this.#cluster.world.logger.debug("step", { step: String(step).slice(6, 80) });
      return step();
    }
  }

  /** Nothing goes wrong any more: head, raylets and processes agree in the end, and nobody is stuck. */
  async calm(whole: boolean): Promise<void> {
    const cluster = this.#cluster;
    cluster.network.quieten();
    for (const raylet of cluster.raylets) if (!raylet.alive) this.#let(raylet.start());
    if (whole) await cluster.run(CALM_MS);
    else await this.#within(CALM_MS, AGREED_MS, disagreements);
    cluster.fail(disagreements(cluster.snapshot()));
    await this.#objects.getAll(this.#driver);
  }

  /** Runs until nothing is `wrong` for `standsMs` at a stretch, or `limitMs` have passed. */
  async #within(limitMs: number, standsMs: number, wrong: typeof disagreements): Promise<void> {
    const cluster = this.#cluster;
    const endMs = cluster.clock.now() + limitMs;
    for (let fineMs = 0; fineMs <= standsMs && cluster.clock.now() < endMs; ) {
      await cluster.run(LOOK_MS);
      fineMs = wrong(cluster.snapshot()).length === 0 ? fineMs + LOOK_MS : 0;
    }
  }

  /** Everything is taken away: nothing is left anywhere. */
  async end(): Promise<void> {
    const cluster = this.#cluster;
    this.#objects.disposeAll();
    for (const { pgId } of cluster.snapshot().head!.groups) await cluster.until(this.#driver.removeGroup(pgId));
    for (const { actorId, state } of cluster.snapshot().head!.actors)
      if (state !== "DEAD") await cluster.until(this.#driver.killActor(actorId));
    await cluster.until(this.#driver.close());
    await this.#within(END_MS, 0, leftovers);
    cluster.fail(leftovers(cluster.snapshot()));
  }
}

/** What a seed went through, for the determinism test and for people. */
export interface SeedReport {
  readonly seed: number;
  readonly simulatedMs: number;
  readonly actors: number;
  readonly groups: number;
  readonly processes: number;
  readonly headKills: number;
  readonly drivers: number;
  /** Outcome of calls → how many. */
  readonly calls: Readonly<Record<string, number>>;
}

export interface SeedOptions extends Pick<SimulateOptions, "logger"> {
  readonly steps?: number;
}

/** Runs one seed from the start of a cluster to its empty end. @throws InvariantError and what did not come to an end. */
export async function runSeed(seed: number, options: SeedOptions = {}): Promise<SeedReport> {
  const { steps = STEPS, logger } = options;
  const random = seededRandom(seed ^ 0xc1a5);
  const [storeBytes, spillBytes] = [
    random.below(2) === 0 ? 524_288 : 2_097_152,
    [0, 524_288, 4_194_304][random.below(3)]!,
  ];
  const raylets = Array.from({ length: 3 }, () => ({ resources: { CPU: 4, GPU: 2 }, storeBytes, spillBytes }));
  const maxDelayMs = [1, 5, 50, 300][random.below(4)]!;
  const cutProbability = [0, 0, 0.001, 0.005][random.below(4)]!;
  const faults = { maxDelayMs, cutProbability };
  const head = { starvationMs: [1_000, STARVATION_MS][random.below(2)]! };
  const cluster = await simulate({ seed, raylets, faults, head, ...(logger && { logger }) });
  const schedule = new Schedule(cluster, await cluster.driver());
  for (let step = 0; step < steps; step++) {
    await schedule.step();
    cluster.check();
  }
  await schedule.calm(steps >= STEPS);
  await schedule.end();
  const { history, clock } = cluster;
  const calls: Record<string, number> = {};
  for (const { outcome = "open" } of history.calls) calls[outcome] = (calls[outcome] ?? 0) + 1;
  const { actors, groups, lives, headKills } = history;
  return {
    ...{ seed, simulatedMs: clock.now(), actors: actors.size, groups: groups.size },
    ...{ processes: lives.length, headKills, drivers: cluster.drivers.length, calls },
  };
}
