import { asWhiprayError } from "@whipray/core";
import { decodeValues, type Parts, storedOf } from "@whipray/rpc";
import type { ObjectRef } from "whipray";
import type { SimDriver } from "./sim-driver.ts";
import type { Marked, ObjectLife, SimObjects } from "./sim-objects.ts";
import type { World } from "./world.ts";

/** Who does something for a driver: an actor, or a task that asks for so much. */
export type Callee = { readonly actorId: string } | { readonly resources: Readonly<Record<string, number>> };

/** A put ends with its session to the raylet: silent ones are given up after 30 s, and the store has patience for 2 s. */
const PUT_LIMIT_MS = 60_000;
const GET_LIMIT_MS = 20_000;

/** What drivers of a simulation do with objects. What came of it is in the history. */
export class ObjectUser {
  readonly #world: World;
  #marks = 0;

  constructor(world: World) {
    this.#world = world;
  }

  #mark(words: number): Marked {
    return { mark: ++this.#marks, words };
  }

  /** Puts a value of `words` words. */
  async put(driver: SimDriver, words: number): Promise<ObjectLife> {
    const value = this.#mark(words);
    const ref = await driver.record("object", PUT_LIMIT_MS, () => driver.objects.put(value));
    return this.#born(driver.objects, ref, value, ref.source.stored?.location);
  }

  /** A callee makes a value, which is the driver's. */
  async make(driver: SimDriver, callee: Callee, words: number, ms: number): Promise<ObjectLife> {
    const value = this.#mark(words);
    const parts = this.#call(driver, callee, "make", ms, [value.mark, words]);
    const ref = driver.objects.own(parts);
    const location = storedOf(await parts)?.location;
    return this.#born(driver.objects, ref, value, location);
  }

  /** An actor puts a value of its own and gives the ref. */
  async keep(driver: SimDriver, actorId: string, words: number): Promise<ObjectLife> {
    const value = this.#mark(words);
    const parts = await this.#call(driver, { actorId }, "keep", 0, [value.mark, words]);
    const ref = driver.objects.decode(parts) as ObjectRef;
    const owner = this.#world.history.owners.get(`${ref.ownerAddress} ${ref.ownerIncarnation}`)!;
    // What it keeps lies on its own node, and both end together.
    return this.#born(owner, ref, value, undefined);
  }

  /** Gets it, and looks at it. */
  async get(driver: SimDriver, life: ObjectLife, timeoutMs = GET_LIMIT_MS): Promise<void> {
    const ref = driver.objects.refTo(life);
    await this.#noting(`get of ${life.ref.id} in ${driver.machine}`, life, () =>
      driver.record("object", timeoutMs, () => driver.objects.get(ref, life, timeoutMs)),
    );
  }

  /** The callee gets it as an argument. */
  async pass(driver: SimDriver, callee: Callee, life: ObjectLife, ms: number): Promise<void> {
    const ref = driver.objects.refTo(life);
    const value = await this.#noting(`${life.ref.id} as an argument of ${driver.machine}`, life, () =>
      driver.record("object", PUT_LIMIT_MS, () => driver.objects.argument(ref)),
    );
    const parts = await this.#call(driver, callee, "take", ms, [value]);
    const { mark, words } = decodeValues(parts) as Partial<Marked>;
    if (mark !== life.mark || words !== life.words)
      this.#world.history.found.push(`${life.ref.id}: the callee got ${words} words of ${mark}`);
  }

  /** Waits until so many of them are there. */
  async wait(driver: SimDriver, lives: readonly ObjectLife[], numReturns: number, timeoutMs: number): Promise<void> {
    const refs = lives.map((life) => driver.objects.refTo(life));
    const [ready, pending] = await driver.record("object", timeoutMs, () =>
      driver.objects.wait(refs, numReturns, timeoutMs),
    );
    if (ready.length > numReturns || ready.length + pending.length !== refs.length)
      this.#world.history.found.push(`wait for ${numReturns} of ${refs.length}: ${ready.length} + ${pending.length}`);
  }

  dispose(life: ObjectLife): void {
    life.disposed = true;
    life.ref.dispose();
  }

  #call(driver: SimDriver, callee: Callee, method: string, ms: number, more: readonly unknown[]): Promise<Parts> {
    if ("actorId" in callee) return driver.callFor(callee.actorId, method, { ms, more });
    return driver.taskFor(callee.resources, method, { ms, more });
  }

  #born(owner: SimObjects, ref: ObjectRef, value: Marked, location: string | undefined): ObjectLife {
    const raylet = location === undefined ? undefined : this.#world.rayletAt(location);
    const keeper = location === undefined ? undefined : () => this.#world.rayletAt(location) === raylet;
    const life: ObjectLife = { ...value, ref, owner, keeper, disposed: false };
    this.#world.history.objects.push(life);
    return life;
  }

  async #noting<T>(what: string, life: ObjectLife, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      const { code } = asWhiprayError(error);
      this.#world.history.gotNone(what, life, code, this.#world.network.brokenMs);
      throw error;
    }
  }
}
