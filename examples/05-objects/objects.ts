import assert from "node:assert/strict";
import { init } from "whipray";
import type { Histogram } from "./histogram.ts";

const ACTORS = 4;
const LENGTH = 8_388_608; // 64 MiB
const BUCKETS = 8;

await using cluster = await init({ numCpus: ACTORS, objectStoreMemory: 512 * 1_048_576 });

// Copied once, into a segment of the node's store. The array must not change before the put has settled.
const values = Float64Array.from({ length: LENGTH }, (_, i) => ((i * 2_654_435_761) % 4_294_967_296) / 4_294_967_296);
using ref = await cluster.put(values); // the object is freed at the end of this block

const actors = await Promise.all(
  Array.from({ length: ACTORS }, () =>
    cluster.actor<Histogram>(new URL("./histogram.ts", import.meta.url), "Histogram").create(BUCKETS),
  ),
);

// A ref as an argument is its value when the method runs: each actor maps the same memory.
const share = LENGTH / ACTORS;
const parts = await Promise.all(actors.map((actor, i) => actor.count(ref, i * share, (i + 1) * share)));
const total = Array.from({ length: BUCKETS }, (_, b) => parts.reduce((sum, counts) => sum + counts[b]!, 0));
console.log("values in each eighth:", total.join(" "));
assert.equal(
  total.reduce((a, b) => a + b),
  LENGTH,
);
assert.deepEqual(await Promise.all(actors.map((actor) => actor.sharesMemory())), [true, true, true, true]);

// A large result is a view; release() gives its memory back at once, garbage collection would do it later.
const scaled = await actors[0]!.scaled(ref, 2);
assert.equal(scaled[1], values[1]! * 2);
cluster.release(scaled);
assert.equal(scaled.length, 0);

const [store] = await cluster.listObjects();
console.log(`the store holds ${store!.objects.filter(({ state }) => state === "sealed").length} object(s)`);
