import { type ActorHandle, currentCluster, type ObjectRef } from "../src/index.ts";

/** An actor that makes, keeps and reads large values, for tests. */
export class Maker {
  #kept: unknown;
  #refs: ObjectRef<Float64Array>[] = [];

  constructor(kept?: Float64Array) {
    this.#kept = kept;
  }

  make(length: number, fill: number): Float64Array {
    return new Float64Array(length).fill(fill);
  }
  makeMany(count: number, length: number): { arrays: Float32Array[]; text: string } {
    return { arrays: Array.from({ length: count }, (_, i) => new Float32Array(length).fill(i)), text: "many" };
  }
  sum(values: Float64Array): number {
    return values.reduce((sum, value) => sum + value, 0);
  }
  /** Keeps what it was given, views and all. */
  keep(value: unknown): void {
    this.#kept = value;
  }
  drop(): void {
    this.#kept = undefined;
  }
  /** Writes into its argument: its own affair. */
  scribble(values: Float64Array): number {
    values.fill(-1);
    return values[0]!;
  }
  async put(length: number, fill: number): Promise<{ ref: ObjectRef<Float64Array> }> {
    const ref = await currentCluster()!.put(new Float64Array(length).fill(fill));
    this.#refs.push(ref);
    return { ref };
  }
  async sumOf(holder: { ref: ObjectRef<Float64Array> }): Promise<number> {
    const values = await currentCluster()!.get(holder.ref);
    this.#kept = values;
    return this.sum(values);
  }
  keepRef(holder: { ref: ObjectRef<Float64Array> }): number {
    return this.#refs.push(holder.ref);
  }
  async sumOfKept(): Promise<number> {
    return this.sum(await currentCluster()!.get(this.#refs.at(-1)!));
  }
  async makeThrough(other: ActorHandle<Maker>, length: number): Promise<number> {
    return this.sum(await other.make(length, 2));
  }
  keptLength(): number {
    return (this.#kept as Float64Array | undefined)?.length ?? 0;
  }
  pid(): number {
    return process.pid;
  }
}
