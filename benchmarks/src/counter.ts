/** The actor of the benchmarks. */
export class Counter {
  #value = 0;
  add(n: number): number {
    this.#value += n;
    return this.#value;
  }
  pid(): number {
    return process.pid;
  }
}
