// Prints the milliseconds from before the import of Whipray to the first result of an actor. Its own imports are types alone.
import type { Actor } from "./targets.ts";

const startedAt = performance.now();
const { init } = await import("whipray");
const address = process.env["WHIPRAY_ADDRESS"];
await using cluster = await init(address === undefined ? {} : { address });
const actor = await cluster.actor<Actor>(new URL("./targets.ts", import.meta.url), "Actor").create();
await actor.smallValue();
console.log("first result after", performance.now() - startedAt);
