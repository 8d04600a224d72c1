import { createInterface } from "node:readline";
import type { SideRequest } from "../src/vs-ray/side-protocol.ts";

// A side whose steps took what its argument says, in milliseconds: no clock decides what a test sees. `die`, `hang-start`, `garbage` are what bad sides do.
const [what = "1"] = process.argv.slice(2);
if (what === "die-at-start") {
  console.error("no such library");
  process.exit(3);
}
console.log(JSON.stringify({ ready: true, facts: { what } }));
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as SideRequest;
  if ("end" in request) console.log(JSON.stringify({ ended: true }));
  else if (what === "silent") continue;
  else if (what === "die" || request.row === "die") process.exit(4);
  else if (what === "garbage") console.log("{ not json");
  else if (what === "refuse") console.log(JSON.stringify({ error: "no loop" }));
  else console.log(JSON.stringify({ took: [Number(what) / 1_000, Number(what) / 1_000] }));
}
