import { type ActorHandle, currentCluster, type ObjectRef } from "../src/index.ts";

/** An actor with a bit of everything, for tests. */
export class Sample {
  #value: number;
  #closed = 0;

  constructor(start: number) {
    this.#value = start;
  }
  add(n: number): number {
    this.#value += n;
    return this.#value;
  }
  scale(values: Float64Array, factor: number): Float64Array {
    return values.map((value) => value * factor);
  }
  fail(message: string): never {
    throw new RangeError(message);
  }
  async sleep(ms: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
  pid(): number {
    return process.pid;
  }
  say(line: string): void {
    console.error(line);
  }
  env(name: string): string | undefined {
    return process.env[name];
  }
  *count(n: number): Generator<number> {
    try {
      for (let i = 0; i < n; i++) yield i;
    } finally {
      this.#closed++;
    }
  }
  closedStreams(): number {
    return this.#closed;
  }
  async addThrough(other: ActorHandle<Sample>, n: number): Promise<number> {
    return other.add(n);
  }
  async readRef(holder: { ref: ObjectRef<string> }): Promise<string> {
    return currentCluster()!.get(holder.ref);
  }
}

export class Broken {
  constructor() {
    throw new Error("broken on purpose");
  }
}
