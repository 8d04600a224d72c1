/** A source of random numbers. Injected everywhere, so that a simulation repeats with its seed. */
export interface RandomSource {
  /** A number in [0, 1). */
  next(): number;
  /** A whole number in [0, limit). `limit` is a positive whole number. */
  below(limit: number): number;
}

/** Not for secrets: tokens come from node:crypto in the modules that make them. */
export const systemRandom: RandomSource = {
  next: () => Math.random(),
  below: (limit) => Math.floor(Math.random() * limit),
};

/** mulberry32: small, fast, good enough for schedules of a simulation. The same seed gives the same numbers. */
export function seededRandom(seed: number): RandomSource {
  let state = seed >>> 0;
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }
  return { next, below: (limit) => Math.floor(next() * limit) };
}
