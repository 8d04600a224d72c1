import { type RandomSource, seededRandom } from "@whipray/core";
import type { Strategy } from "@whipray/rpc";
import { expect, test } from "vitest";
import { TestCluster, type TestDriver } from "./cluster.ts";
import type { FakeRaylet } from "./fake-raylet.ts";

const SEEDS = Number(process.env["WHIPRAY_CHAOS_SEEDS"] ?? 60);
const STEPS = 50;
const STRATEGIES: Strategy[] = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"];

/** A cluster to which things happen: everything that a user does, and everything that goes wrong, in a seeded order. */
class Chaos {
  readonly cluster = new TestCluster();
  readonly random: RandomSource;
  driver!: TestDriver;
  readonly groups: string[] = [];
  readonly actors: string[] = [];
  raylets: FakeRaylet[] = [];
  headAlive = true;
  #nodes = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[this.random.below(Math.max(1, from.length))];
  }

  async begin(): Promise<void> {
    await this.cluster.start({ headOutageMs: 30_000 });
    this.driver = await this.cluster.driver("d").open();
    for (let i = 0; i < 3; i++) await this.addNode();
  }

  async addNode(): Promise<void> {
    this.raylets.push(await this.cluster.node(`n${++this.#nodes}`, { CPU: 4 }, { gpus: 2 }));
  }

  /** Work whose answer nobody waits for here: it may take until the next heal, or end with an error. */
  #let(promise: Promise<unknown>): void {
    promise.catch(() => undefined);
  }

  #amounts(): Record<string, number> {
    const GPU = this.pick([0, 0, 0.5, 1])!;
    return { CPU: this.pick([1, 1, 2])!, ...(GPU ? { GPU } : {}) };
  }

  readonly steps: [weight: number, step: () => void | Promise<void>][] = [
    [
      6,
      () => {
        const pgId = this.driver.id("pg");
        this.groups.push(pgId);
        const bundles = Array.from({ length: 1 + this.random.below(3) }, () => this.#amounts());
        this.#let(this.driver.group(bundles, { pgId, strategy: this.pick(STRATEGIES)! }));
      },
    ],
    [
      8,
      () => {
        const actorId = this.driver.id("actor");
        this.actors.push(actorId);
        const pgId = this.random.next() < 0.5 ? this.pick(this.groups) : undefined;
        this.#let(
          this.driver.actor(
            { CPU: 1 },
            { actorId, maxRestarts: this.pick([-1, -1, 0, 1])!, ...(pgId ? { pgId } : {}) },
          ),
        );
      },
    ],
    [3, () => this.#let(this.driver.remove(this.pick(this.groups) ?? "pg_none"))],
    [3, () => this.#let(this.driver.kill(this.pick(this.actors) ?? "actor_none", this.random.next() < 0.5))],
    [
      4,
      () => {
        const raylet = this.pick(this.raylets);
        const actorId = raylet && this.pick([...raylet.actors.keys()]);
        if (raylet && actorId) this.#let(raylet.crash(actorId));
      },
    ],
    [
      2,
      async () => {
        const victim = this.pick(this.raylets);
        if (!victim || !this.headAlive) return;
        victim.kill();
        this.raylets = this.raylets.filter((raylet) => raylet !== victim);
        this.cluster.net.heal();
        await this.addNode();
      },
    ],
    [
      3,
      () => {
        const raylet = this.pick(this.raylets);
        if (!raylet) return;
        const [one, other] = [`${raylet.nodeId}/raylet`, "head/head"];
        if (this.random.next() < 0.7) this.cluster.net.cut(one, other);
        if (this.random.next() < 0.7) this.cluster.net.cut(other, one);
        if (this.random.next() < 0.5) this.cluster.head.linkLost(raylet.nodeId);
      },
    ],
    [4, () => this.cluster.net.heal()],
    [
      2,
      async () => {
        if (!this.headAlive) return;
        this.cluster.killHead();
        this.headAlive = false;
        await this.cluster.run(this.random.below(4_000));
        await this.restart();
      },
    ],
    [10, () => this.cluster.run(this.random.below(3_000))],
  ];

  async restart(): Promise<void> {
    await this.cluster.start({ headOutageMs: 30_000 });
    this.headAlive = true;
    await this.driver.open();
  }

  async step(): Promise<void> {
    const total = this.steps.reduce((sum, [weight]) => sum + weight, 0);
    let at = this.random.below(total);
    for (const [weight, step] of this.steps) {
      at -= weight;
      if (at < 0) return step();
    }
  }

  /** Nothing goes wrong any more: after a while head and raylets agree, nothing is stuck, and what waits says why. */
  async calm(): Promise<void> {
    this.cluster.net.heal();
    await this.cluster.run(60_000);
    const { nodes, groups, actors } = this.cluster.head.status();
    const alive = nodes.filter((node) => node.state === "ALIVE").map((node) => node.nodeId);
    expect(alive.sort()).toEqual(this.raylets.map((raylet) => raylet.nodeId).sort());
    expect(nodes.filter((node) => node.state === "SUSPECT")).toEqual([]);
    for (const raylet of this.raylets) {
      const here = groups.flatMap((group) =>
        group.bundles.flatMap((one) => (one.nodeId === raylet.nodeId ? [`${group.pgId} ${one.index}`] : [])),
      );
      expect([...raylet.bundles.keys()].sort()).toEqual(here.sort());
      expect([...raylet.bundles.values()].every((bundle) => bundle.committed)).toBe(true);
      const running = actors.flatMap((actor) =>
        actor.nodeId === raylet.nodeId ? [`${actor.actorId} ${actor.epoch}`] : [],
      );
      expect([...raylet.actors].map(([actorId, { epoch }]) => `${actorId} ${epoch}`).sort()).toEqual(running.sort());
    }
    for (const group of groups) {
      expect(["PENDING", "CREATED", "RESCHEDULING"]).toContain(group.state);
      expect(group.reasons.length > 0).toBe(group.state !== "CREATED");
      // Whoever waits now waits for room, not for an event that was lost.
      for (const { text } of group.reasons) expect(text).toMatch(/^needs |^held back for /);
    }
    for (const actor of actors) {
      expect(["ALIVE", "DEAD", "PENDING_CREATION", "RESTARTING"]).toContain(actor.state);
      expect(actor.waiting !== undefined).toBe(actor.state === "PENDING_CREATION" || actor.state === "RESTARTING");
      if (actor.waiting)
        expect(actor.waiting).toMatch(/^busy: |^placement group .* bundle \d has no place|could hold it is in use/);
      expect(actor.death !== undefined).toBe(actor.state === "DEAD");
    }
  }

  /** Everything is taken away: nothing is left anywhere. */
  async end(): Promise<void> {
    for (const { pgId } of this.cluster.head.status().groups) await this.driver.remove(pgId);
    for (const { actorId } of this.cluster.head.status().actors) await this.driver.kill(actorId);
    await this.cluster.run(5_000);
    expect(this.raylets.map((raylet) => raylet.idle)).toEqual(this.raylets.map(() => true));
    expect(this.cluster.head.status().waiters).toBe(0);
    const kept = [...this.cluster.disk.keys()].filter((key) => key.startsWith("groups"));
    expect(kept).toEqual([]);
    await this.cluster.head.stop();
  }
}

test(`P4, P7, P16: ${SEEDS} seeded schedules of work and faults end in agreement and leave nothing`, async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const chaos = new Chaos(seed);
    try {
      await chaos.begin();
      for (let step = 0; step < STEPS; step++) await chaos.step();
      await chaos.calm();
      await chaos.end();
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : error}`, { cause: error });
    }
  }
}, 120_000);
