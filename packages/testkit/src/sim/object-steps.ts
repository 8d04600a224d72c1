import type { RandomSource } from "@whipray/core";
import { type Callee, ObjectUser } from "./object-user.ts";
import type { SimDriver } from "./sim-driver.ts";
import type { ObjectLife } from "./sim-objects.ts";
import type { SimCluster } from "./simulate.ts";

/** Values in messages, and in stores of a few hundred of KiB: the smallest segment has 32 768 words. */
const WORDS = [10, 30_000, 30_000, 60_000];
/** A node's disk stays full for so long, at most. */
const DISK_FULL_MS = 4_000;
const WAIT_MS = 2_000;

export interface ObjectStepsParts {
  readonly cluster: SimCluster;
  readonly random: RandomSource;
  readonly anyone: () => SimDriver;
  readonly actorId: () => string | undefined;
}

/** What users do with objects in a schedule, at random. What came of it is in the history. */
export class ObjectSteps {
  readonly #parts: ObjectStepsParts;
  readonly #user: ObjectUser;

  constructor(parts: ObjectStepsParts) {
    this.#parts = parts;
    this.#user = new ObjectUser(parts.cluster.world);
  }

  readonly all: readonly (readonly [weight: number, step: () => void])[] = [
    [7, () => this.#let(this.#user.put(this.#parts.anyone(), this.#pick(WORDS)!))],
    [5, () => this.#let(this.#user.make(this.#parts.anyone(), this.#callee(), this.#pick(WORDS)!, this.#ms()))],
    [3, () => this.#keeps()],
    [7, () => this.#of((life) => this.#user.get(this.#parts.anyone(), life))],
    [7, () => this.#of((life) => this.#user.pass(this.#parts.anyone(), this.#callee(), life, this.#ms()))],
    [2, () => this.#waits()],
    [2, () => this.#disposes()],
    [1, () => this.#diskFills()],
  ];

  get #objects(): readonly ObjectLife[] {
    return this.#parts.cluster.history.objects;
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[this.#parts.random.below(Math.max(1, from.length))];
  }

  #let(promise: Promise<unknown>): void {
    promise.catch(() => undefined);
  }

  #ms(): number {
    return this.#pick([0, 0, 500])!;
  }

  #callee(): Callee {
    const actorId = this.#parts.random.next() < 0.5 ? this.#parts.actorId() : undefined;
    return actorId === undefined ? { resources: { CPU: 1 } } : { actorId };
  }

  #of(use: (life: ObjectLife) => Promise<unknown>): void {
    const life = this.#pick(this.#objects);
    if (life) this.#let(use(life));
  }

  #keeps(): void {
    const actorId = this.#parts.actorId();
    if (actorId !== undefined) this.#let(this.#user.keep(this.#parts.anyone(), actorId, this.#pick(WORDS)!));
  }

  #waits(): void {
    const some = this.#objects.filter(() => this.#parts.random.next() < 0.5);
    if (some.length === 0) return;
    const numReturns = 1 + this.#parts.random.below(some.length);
    this.#let(this.#user.wait(this.#parts.anyone(), some, numReturns, WAIT_MS));
  }

  #disposes(): void {
    const life = this.#pick(this.#objects);
    if (life && this.#parts.cluster.drivers.some(({ objects }) => objects === life.owner)) this.#user.dispose(life);
  }

  #diskFills(): void {
    const { cluster, random } = this.#parts;
    const { disk } = this.#pick(cluster.raylets)!;
    if (!disk) return;
    disk.full = true;
    cluster.clock.after(random.below(DISK_FULL_MS), () => {
      disk.full = false;
    });
  }

  /** Nothing goes wrong any more: every object is got, or known to be gone, by a driver that is there. */
  async getAll(driver: SimDriver): Promise<void> {
    const gets = this.#objects.map((life) => this.#user.get(driver, life, CALM_GET_MS).catch(() => undefined));
    await this.#parts.cluster.until(Promise.all(gets));
  }

  /** Nobody needs any of them any more. */
  disposeAll(): void {
    for (const life of this.#objects) if (life.owner.alive) this.#user.dispose(life);
  }
}

/** Longer than a session to somebody who is gone lasts. */
const CALM_GET_MS = 40_000;
