import { parseArgs } from "node:util";
import type { Row } from "./measure.ts";
import { quick } from "./quick.ts";

// npm run bench -- quick [--json]
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean", default: false } },
});
if (positionals.length !== 1 || positionals[0] !== "quick") {
  console.error("usage: npm run bench -- quick [--json]");
  process.exit(2);
}
const rows = await quick();
if (values.json) console.log(JSON.stringify({ node: process.version, rows }));
else for (const row of rows) console.log(show(row));

function show({ name, value, unit, against }: Row): string {
  const figure = `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${unit}`.padStart(14);
  if (!against) return `${name.padEnd(44)}${figure}`;
  const { ratio, atLeast, atMost } = against;
  const held = ratio >= (atLeast ?? 0) && ratio <= (atMost ?? Number.POSITIVE_INFINITY);
  const rule = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast.toFixed(2)}`;
  return `${name.padEnd(44)}${figure}   ${ratio.toFixed(2)} × ${against.row} (${rule}: ${held ? "yes" : "NO"})`;
}
