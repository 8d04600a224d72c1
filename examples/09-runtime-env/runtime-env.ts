import assert from "node:assert/strict";
import { init, type RuntimeEnv } from "whipray";
import type { countCities, Guide } from "./project/guide.ts";

await using cluster = await init({ numCpus: 2 });
const module = new URL("./project/guide.ts", import.meta.url);

// The directory is packed once, named by a hash of its contents, and unpacked on each node that needs it.
const runtimeEnv: RuntimeEnv = {
  envVars: { GREETING: "Welcome to" },
  workingDir: new URL("./project/", import.meta.url),
  excludes: ["*.log"],
};

const guide = await cluster.actor<Guide>(module, "Guide").options({ runtimeEnv }).create();
const greeting = await guide.greet(0);
console.log(greeting);
assert.equal(greeting, "Welcome to Lisbon");

// A task's worker is shared with tasks of the same environment only.
const count = cluster.task<typeof countCities>(module, "countCities").options({ runtimeEnv });
assert.equal(await count(), 3);

// What cannot travel is told before anything starts.
const nowhere = cluster.actor<Guide>(module, "Guide").options({ runtimeEnv: { workingDir: "./no-such-directory" } });
await assert.rejects(nowhere.create(), { code: "INVALID_PATH" });
