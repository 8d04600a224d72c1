import { currentCluster } from "whipray";

/** How many primes there are from `from` up to, not including, `to`. */
export function countPrimes(from: number, to: number): number {
  let count = 0;
  for (let n = Math.max(2, from); n < to; n++) if (isPrime(n)) count++;
  return count;
}

/** The primes from `from` on, as they are found. */
export function* primes(from: number): Generator<number, void, unknown> {
  for (let n = Math.max(2, from); ; n++) if (isPrime(n)) yield n;
}

/** The first and the last prime below `to`. */
export function range(to: number): [number, number] {
  let last = to - 1;
  while (!isPrime(last)) last--;
  return [2, last];
}

/** A task that makes tasks: while it waits for them its CPU is theirs. */
export async function countInHalves(from: number, to: number, smallest: number): Promise<number> {
  if (to - from <= smallest) return countPrimes(from, to);
  const half = currentCluster()!.task<typeof countInHalves>(new URL(import.meta.url), "countInHalves");
  const middle = Math.floor((from + to) / 2);
  const [low, high] = await Promise.all([half(from, middle, smallest), half(middle, to, smallest)]);
  return low + high;
}

function isPrime(n: number): boolean {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return true;
}
