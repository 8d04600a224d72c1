import assert from "node:assert/strict";
import { init } from "whipray";
import type { countInHalves, countPrimes, primes, range } from "./primes.ts";

const LIMIT = 100_000;
const STEP = 1_000;

await using cluster = await init({ numCpus: 2 });
const module = new URL("./primes.ts", import.meta.url);

// A hundred tasks in two worker processes, which stay for the next ones.
const count = cluster.task<typeof countPrimes>(module, "countPrimes");
const counts = await Promise.all(Array.from({ length: LIMIT / STEP }, (_, i) => count(i * STEP, (i + 1) * STEP)));
const total = counts.reduce((sum, n) => sum + n);
console.log(`${total} primes below ${LIMIT}`);
assert.equal(total, 9_592);

// A ref at once, its value later.
const ref = count.remote(0, 100);
assert.equal(await cluster.get(ref), 25);

// Two values of one task, each an object of its own.
const [low, high] = cluster.task<typeof range>(module, "range").options({ numReturns: 2 }).remote(100);
assert.deepEqual(await cluster.get([low, high]), [2, 97]);

// A task that nobody needs any more.
const endless = count.remote(0, 1e12);
cluster.cancel(endless, { force: true });
await assert.rejects(cluster.get(endless), { code: /CANCELLED|WORKER_CRASHED/ });

// Items as they come; leaving the loop ends the generator.
for await (const prime of cluster.task<typeof primes>(module, "primes")(1_000_000)) {
  console.log(`the first prime above a million is ${prime}`);
  assert.equal(prime, 1_000_003);
  break;
}

// Tasks that wait for tasks do not starve each other.
assert.equal(await cluster.task<typeof countInHalves>(module, "countInHalves")(0, LIMIT, 20_000), total);
