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

/** The task of the benchmarks. */
export function small(): number {
  return 1;
}
