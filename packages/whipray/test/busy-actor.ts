import { appendFileSync, readFileSync } from "node:fs";
import { type ActorHandle, callContext, currentCluster, exitActor } from "../src/index.ts";
import { untilThere } from "./sample-tasks.ts";

/** An actor that waits, fails, dies and leaves as it is told. */
export class Busy {
  #count = 0;
  #calls = 0;
  #most = 0;
  #running = 0;
  #gate = Promise.withResolvers<void>();

  count(): number {
    return ++this.#count;
  }
  pid(): number {
    return process.pid;
  }
  /** Waits until somebody calls `open`, in whichever concurrency group. */
  async hold(name = "held"): Promise<string> {
    this.#most = Math.max(this.#most, ++this.#running);
    await this.#gate.promise;
    this.#running--;
    return name;
  }
  async open(): Promise<void> {
    this.#gate.resolve();
  }
  async running(): Promise<number> {
    return this.#running;
  }
  async most(): Promise<number> {
    return this.#most;
  }
  async note(file: string, line: string): Promise<void> {
    appendFileSync(file, `${line}\n`);
  }
  /** Fails `times` times. */
  async flaky(times: number, kind: "RangeError" | "TypeError" = "RangeError"): Promise<number> {
    this.#calls++;
    if (this.#calls <= times) throw kind === "RangeError" ? new RangeError("not yet") : new TypeError("not yet");
    return this.#calls;
  }
  async executions(): Promise<number> {
    return this.#calls;
  }
  async leave(): Promise<never> {
    return exitActor();
  }
  async die(): Promise<void> {
    process.kill(process.pid, "SIGKILL");
  }
  async *endless(): AsyncGenerator<number> {
    for (;;) yield this.#calls++;
  }
  async *numbers(n: number): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield i;
  }
  /** Runs until its caller cancels it. */
  async untilCancelled(): Promise<never> {
    const { signal } = callContext()!;
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    this.#calls++;
    throw signal.reason;
  }
  untilThere(file: string, go: string): Promise<void> {
    return untilThere(file, go);
  }
}

/** One call at a time: no method is async. */
export class Line {
  readonly #seen: string[] = [];
  push(item: string): string[] {
    this.#seen.push(item);
    return this.#seen;
  }
}

/** Calls another actor. */
export class Caller {
  async count(other: ActorHandle<Busy>): Promise<number> {
    return other.count();
  }
  /** Whether a call on it is ready in `wait`, and what came of it. */
  async waitFor(other: ActorHandle<Busy>): Promise<string> {
    const cluster = currentCluster()!;
    const ref = other.count.remote();
    const [ready] = await cluster.wait([ref], { timeoutMs: 60_000 });
    const outcome = await cluster.get(ref).then(String, (error: Error) => error.name);
    return `${ready.length} ready: ${outcome}`;
  }
  /** Has another actor, or a task, run until `go` is there; ends with it, or when it is cancelled itself. */
  async passOn(file: string, go: string, other?: ActorHandle<Busy>): Promise<void> {
    const { signal } = callContext()!;
    const aborted = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    const task = currentCluster()!.task<typeof untilThere>(new URL("./sample-tasks.ts", import.meta.url), "untilThere");
    await Promise.race([aborted, other ? other.untilThere(file, go) : task(file, go)]);
  }
  pid(): number {
    return process.pid;
  }
}

/** Its process ends in the constructor, the first two times. */
export class Fragile {
  constructor(file: string) {
    appendFileSync(file, "try\n");
    if (readFileSync(file, "utf8").split("\n").length <= 3) process.exit(3);
  }
  ok(): boolean {
    return true;
  }
}
