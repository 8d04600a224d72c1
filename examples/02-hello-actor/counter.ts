/** An actor is a plain class; each instance lives in a process of its own. */
export class Counter {
  #value: number;

  constructor(start: number) {
    this.#value = start;
  }

  increment(by: number): number {
    this.#value += by;
    return this.#value;
  }

  *countdown(): Generator<number> {
    for (let n = 3; n > 0; n--) yield n;
  }
}
