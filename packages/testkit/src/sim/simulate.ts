import { type Clock, type Logger, SimulatedClock, settle, silentLogger } from "@whipray/core";
import type { HeadOptions } from "@whipray/head";
import { History } from "./history.ts";
import type { Snapshot } from "./invariants.ts";
import { Lookout } from "./lookout.ts";
import { SimDriver } from "./sim-driver.ts";
import { SimHead } from "./sim-head.ts";
import type { SimFaults, SimNetwork } from "./sim-network.ts";
import { loadObjects } from "./sim-objects.ts";
import { SimRaylet, type SimRayletSpec } from "./sim-raylet.ts";
import { World } from "./world.ts";

export interface SimulateOptions {
  /** Everything repeats with it. */
  readonly seed: number;
  readonly raylets: readonly SimRayletSpec[];
  readonly faults?: SimFaults;
  /** As for `Head`; the rest is the simulation's. */
  readonly head?: Pick<HeadOptions, "starvationMs">;
  /** What all processes write; fields tell which (`process`). Default: nothing. */
  readonly logger?: (clock: Clock) => Logger;
}

/** So many events at one moment are a process that wakes itself without end. */
const EVENTS_AT_ONCE_LIMIT = 10_000;
const START_LIMIT_MS = 30_000;

/** A violated promise. The message names the seed. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** A whole cluster in this process, under a simulated clock: the real head and raylets on a network, disk and processes in memory. */
export class SimCluster {
  readonly seed: number;
  readonly clock: SimulatedClock;
  readonly network: SimNetwork;
  readonly history = new History();
  readonly head: SimHead;
  readonly raylets: SimRaylet[] = [];
  readonly drivers: SimDriver[] = [];
  readonly world: World;
  readonly #lookout = new Lookout(this);
  #eventsAtOnce = 0;

  constructor({ seed, raylets, faults = {}, head = {}, logger = () => silentLogger }: SimulateOptions) {
    this.seed = seed;
    this.clock = new SimulatedClock();
    const rayletAt = (address: string) => this.raylets.find(({ nodeId }) => address === `${nodeId}/raylet`)?.raylet;
    const { clock, history } = this;
    this.world = new World({ seed, clock, history, logger: logger(clock), faults, rayletAt });
    this.network = this.world.network;
    this.head = new SimHead(
      this.world,
      (url) => this.raylets.find((raylet) => raylet.url === url)?.knock() ?? "unknown",
      head,
    );
    for (const spec of raylets) this.raylets.push(new SimRaylet(this.world, `n${this.raylets.length + 1}`, spec));
  }

  /** A new machine; `start` its raylet. */
  addRaylet(spec: SimRayletSpec): SimRaylet {
    const raylet = new SimRaylet(this.world, `n${this.raylets.length + 1}`, spec);
    this.raylets.push(raylet);
    return raylet;
  }

  /** A driver with an open job, on a machine of its own. */
  async driver(): Promise<SimDriver> {
    const driver = new SimDriver(this.world, `d${this.drivers.length + 1}`);
    this.drivers.push(driver);
    await this.until(driver.open());
    return driver;
  }

  /** Lets `ms` of simulated time pass. @throws InvariantError as soon as something is not true that must be. */
  async run(ms: number): Promise<void> {
    const { clock } = this;
    const endMs = clock.now() + ms;
    await settle();
    for (let nextMs = clock.nextAtMs(); nextMs !== undefined && nextMs <= endMs; nextMs = clock.nextAtMs()) {
      await this.#event();
    }
    clock.advance(Math.max(0, endMs - clock.now()));
    await settle();
    this.check();
  }

  /** Runs until the promise settles. @throws what it rejects with, and after `limitMs` of simulated time. */
  async until<T>(promise: Promise<T>, limitMs = 120_000): Promise<T> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    promise.then(done, done);
    const endMs = this.clock.now() + limitMs;
    await settle();
    while (!settled) {
      const nextMs = this.clock.nextAtMs();
      if (nextMs === undefined || nextMs > endMs)
        throw new Error(`seed ${this.seed}: nothing came within ${limitMs} ms`);
      await this.#event();
    }
    return promise;
  }

  async #event(): Promise<void> {
    const nowMs = this.clock.now();
    this.clock.step();
    await settle();
    this.check();
    this.#eventsAtOnce = this.clock.now() === nowMs ? this.#eventsAtOnce + 1 : 0;
    if (this.#eventsAtOnce > EVENTS_AT_ONCE_LIMIT)
      this.fail(["time stands still: somebody wakes himself again and again"]);
  }

  /** Runs until it is true. @throws after `limitMs` of simulated time. */
  async when(what: string, condition: () => boolean, limitMs = 60_000): Promise<void> {
    const endMs = this.clock.now() + limitMs;
    while (!condition()) {
      if (this.clock.now() >= endMs) throw new Error(`seed ${this.seed}: not within ${limitMs} ms: ${what}`);
      await this.run(20);
    }
  }

  snapshot(): Snapshot {
    const head = this.head.alive ? this.head.head?.status() : undefined;
    const nodes = this.raylets.flatMap((raylet) => raylet.look() ?? []);
    const stores = this.raylets.flatMap((raylet) => raylet.lookAtStore() ?? []);
    return { nowMs: this.clock.now(), head, nodes, stores, history: this.history };
  }

  /** What `run` and `until` do after each event. @throws InvariantError */
  check(): void {
    this.fail(this.#lookout.look());
  }

  /** @throws InvariantError unless `found` is empty. */
  fail(found: readonly string[]): void {
    if (found.length === 0) return;
    throw new InvariantError(
      `seed ${this.seed}, at ${Math.round(this.clock.now())} ms: ${found.slice(0, 10).join("; ")}`,
    );
  }
}

/** Starts a cluster; its head and raylets are up when this settles. */
export async function simulate(options: SimulateOptions): Promise<SimCluster> {
  await loadObjects();
  const cluster = new SimCluster(options);
  await cluster.until(cluster.head.start(), START_LIMIT_MS);
  await cluster.until(Promise.all(cluster.raylets.map((raylet) => raylet.start())), START_LIMIT_MS);
  await cluster.run(10);
  return cluster;
}
