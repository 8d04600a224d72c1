import { init } from "whipray";
import type { Counter } from "./counter.ts";

await using cluster = await init();
const counter = await cluster.actor<Counter>(new URL("./counter.ts", import.meta.url), "Counter").create(41);
console.log(await counter.increment(1)); // 42
const ref = counter.increment.remote(8);
console.log(await cluster.get(ref)); // 50
for await (const n of counter.countdown()) console.log(n); // 3 2 1
