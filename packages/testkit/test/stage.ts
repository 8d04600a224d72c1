import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CallEngineOptions, RayScheduler } from "@whipray/scheduler";
import type { TestContext } from "vitest";
import type { Cluster } from "whipray";
import { type RayletSpec, type RealCluster, type RealRaylet, startCluster } from "../src/real-cluster.io.ts";
import { outsidePid, parentOf, until } from "./outside.ts";

/** The two machines of every kill-matrix test; each role says by a resource of that name which one it wants. */
export type Place = "near" | "far";

const PYTHONPATH = fileURLToPath(new URL("./fixtures/engines/", import.meta.url));
/** Everything that is not about a deadline of its own. */
export const PATIENCE_MS = 30_000;
/** "What it owned is gone in 10 s." */
export const DEATH_MS = 10_000;
/** P5: what it takes after a guard, or its raylet, is gone. */
export const GUARD_MS = 2_000;

/** A head, a raylet, and a raylet on a foreign machine. @param far what that one has beside */
export function startStage(more: RayletSpec = {}, far: RayletSpec = {}): Promise<RealCluster> {
  return startCluster({
    raylets: [
      { ...more, resources: { CPU: 4, near: 4 } },
      { ...more, ...far, resources: { CPU: 4, far: 4 }, foreign: true },
    ],
  });
}

/** Both raylets are on machines of their own and have no port: a driver here has no other road than the head's port. */
export function startTunnelStage(): Promise<RealCluster> {
  return startStage({ port: false, foreign: true });
}

/** Skips the test where a foreign raylet is not really on a machine of its own. */
export function needNamespaces(context: TestContext, { notes }: RealCluster): void {
  if (notes.length > 0) skipBecause(context, notes.join("; "));
}

/** The reason is shown, and said again at the end of `npm test`. */
export function skipBecause({ task, skip }: TestContext, reason: string): void {
  Object.assign(task.meta, { skippedBecause: reason });
  skip(reason);
}

export function rayletAt(real: RealCluster, place: Place): RealRaylet {
  return real.raylets[place === "near" ? 0 : 1]!;
}

/** What `createWorkers` takes for a worker that runs at `place`. */
export function task(place: Place): Parameters<RayScheduler["createWorkers"]>[0]["tasks"][number] {
  return { cpu: 0.5, mem: 0.05, portCount: 0, envVars: { PYTHONPATH }, resources: { [place]: 1 } };
}

/** A test's cluster, and its driver. */
export interface Stage {
  readonly real: RealCluster;
  readonly cluster: Cluster;
  readonly scheduler: RayScheduler;
}

/** A worker with its engine, known from inside and from outside. */
export class Rank {
  readonly id: string;
  readonly #scheduler: RayScheduler;
  readonly #raylet: RealRaylet;
  /** As this process sees them. */
  readonly engine: number;
  readonly guard: number;
  readonly worker: number;

  private constructor(id: string, scheduler: RayScheduler, raylet: RealRaylet, engine: number, worker: number) {
    this.id = id;
    this.#scheduler = scheduler;
    this.#raylet = raylet;
    this.engine = engine;
    this.guard = parentOf(engine);
    this.worker = worker;
  }

  /** A role of one worker at `place`, with a `Probe` engine in it. */
  static async start(stage: Stage, role: string, place: Place, engine = "Probe"): Promise<Rank> {
    const { scheduler } = stage;
    const [id] = (await scheduler.createWorkers({ role, replicas: 1, tasks: [task(place)] })) as [string];
    await scheduler.createEngine(id, `probe_engines.${engine}`);
    return Rank.#find(stage, id, place, (await scheduler.callEngine(id, "pid")) as number);
  }

  static async #find({ real, cluster, scheduler }: Stage, id: string, place: Place, innerPid: number): Promise<Rank> {
    const raylet = rayletAt(real, place);
    const name = id.replace("/", ".");
    const row = (await cluster.listActors()).find((actor) => actor.name === name && actor.state === "ALIVE");
    if (row?.nodeId !== raylet.nodeId) throw new Error(`${id} is on ${row?.nodeId}, not on the ${place} node`);
    const [engine, worker] = [outsidePid(innerPid, raylet.pid), outsidePid(row.pid!, raylet.pid)];
    return new Rank(id, scheduler, raylet, engine, worker);
  }

  // biome-ignore lint/suspicious/noExplicitAny: what an engine returns is its own affair
  call(method: string, args: readonly unknown[] = [], options: CallEngineOptions = {}): Promise<any> {
    return this.#scheduler.callEngine(this.id, method, { ...options, args });
  }

  stream(method: string, args: readonly unknown[]): AsyncGenerator<unknown, unknown> {
    return this.#scheduler.streamEngine(this.id, method, { args });
  }

  /** A call that is running when this settles. Its own outcome comes by the promise inside: a value or an error. */
  async running(seconds: number, token?: unknown): Promise<{ outcome: Promise<unknown> }> {
    const mark = `${this.id.replace("/", "-")}.${seconds}`;
    rmSync(join(this.#raylet.cwd, mark), { force: true }); // of a test before
    const outcome = this.call("work", [seconds, mark, token]).catch((error: unknown) => error);
    await this.marked(mark);
    return { outcome };
  }

  /** Takes the first item of a stream that has many more to give. Its end comes by the promise inside. */
  async streaming(): Promise<{ outcome: Promise<unknown> }> {
    const items = this.stream("count_to", [1_000_000, 0.01]);
    await items.next();
    const drain = async (): Promise<void> => {
      for await (const _ of items);
    };
    return { outcome: drain().catch((error: unknown) => error) };
  }

  /** Waits for a file that an engine method leaves in its working directory. */
  marked(mark: string): Promise<void> {
    return until(`${this.id} has begun ${mark}`, PATIENCE_MS, () => existsSync(join(this.#raylet.cwd, mark)));
  }

  /**
   * One whose engine's constructor runs when this settles; what becomes of that comes by the promise inside. Its guard and
   * worker are known, it cannot be called.
   */
  static async creating(stage: Stage, role: string, place: Place): Promise<{ rank: Rank; outcome: Promise<unknown> }> {
    const { real, scheduler } = stage;
    const [id] = (await scheduler.createWorkers({ role, replicas: 1, tasks: [task(place)] })) as [string];
    const raylet = rayletAt(real, place);
    const mark = join(raylet.cwd, `${role}.constructor`);
    rmSync(mark, { force: true });
    const created = scheduler.createEngine(id, "probe_engines.Slow", { args: [mark] });
    const outcome = created.catch((error: unknown) => error);
    await until(`the constructor of ${id} runs`, PATIENCE_MS, () => existsSync(mark));
    return { rank: await Rank.#find(stage, id, place, Number(readFileSync(mark, "utf8"))), outcome };
  }

  /** A process that an engine method started and that did all it could to get lost. */
  async plant(): Promise<number> {
    return outsidePid(await this.call("plant"), this.#raylet.pid);
  }
}
