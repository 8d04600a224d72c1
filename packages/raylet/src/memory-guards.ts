import { WhiprayError } from "@whipray/core";
import type { GuardedTree, GuardSpec, Guards, TreeEnd } from "./guards.ts";
import type { ProcessExit } from "./processes.ts";

/** An engine of a simulation: the test plays it. */
export class MemoryEngine implements GuardedTree {
  readonly pid: number;
  readonly startTime = 1;
  readonly terminal = undefined;
  readonly spec: GuardSpec;
  readonly stops: number[] = [];
  /** Ends when the test says so (`vanish`), not at once: as one that uses its grace. */
  slow = false;
  /** Its guard was killed. */
  unwatched = false;
  /** Some process of its tree is left. */
  alive = true;
  /** Processes that survive a stop until `vanish` (D state). */
  stuck = 0;
  readonly #exited = Promise.withResolvers<ProcessExit>();
  readonly #gone = Promise.withResolvers<TreeEnd>();
  readonly exited = this.#exited.promise;
  readonly gone = this.#gone.promise;

  constructor(pid: number, spec: GuardSpec) {
    this.pid = pid;
    this.spec = spec;
  }

  /** Its first process ends; the rest of the tree with it unless some are stuck. */
  exit(exit: ProcessExit): void {
    this.#exited.resolve(exit);
    if (this.stuck === 0 && !this.slow) this.#end(0);
  }

  /** What was stuck goes at last. */
  vanish(): void {
    this.stuck = 0;
    this.#end(1);
  }

  #end(killed: number): void {
    this.alive = false;
    this.#gone.resolve({ killed, left: 0, ...(this.unwatched && { unwatched: true }) });
  }

  async stop(graceMs: number): Promise<TreeEnd> {
    this.stops.push(graceMs);
    this.#exited.resolve({ code: null, signal: graceMs > 0 ? "SIGTERM" : "SIGKILL" });
    if (this.stuck > 0) return { killed: 0, left: this.stuck };
    if (!this.slow) this.#end(1);
    return this.gone;
  }
}

/** The in-memory twin of `EngineGuards`. */
export class MemoryGuards implements Guards {
  readonly engines: MemoryEngine[] = [];
  /** Makes the next starts fail with this error. */
  refusal: WhiprayError | undefined;
  #pid = 50_000;

  async start(spec: GuardSpec): Promise<MemoryEngine> {
    if (this.refusal) throw this.refusal;
    const engine = new MemoryEngine(++this.#pid, spec);
    this.engines.push(engine);
    return engine;
  }

  /** Makes the next starts fail as a held device lock does. */
  refuseLock(path: string): void {
    this.refusal = new WhiprayError({ code: "DEVICE_LOCKED", message: `lock ${path} is held` });
  }

  async close(): Promise<void> {
    await Promise.all(this.engines.map((engine) => engine.stop(0)));
  }
}
