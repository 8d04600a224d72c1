import { parseArgs } from "node:util";
import { holds, missed, type Row } from "./measure.ts";
import { quick } from "./quick.ts";

// npm run bench -- quick [--json] [--strict]
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean", default: false }, strict: { type: "boolean", default: false } },
});
if (positionals.length !== 1 || positionals[0] !== "quick") {
  console.error("usage: npm run bench -- quick [--json] [--strict]");
  process.exit(2);
}
const rows = await quick();
const below = missed(rows);
if (values.json) console.log(JSON.stringify({ node: process.version, rows, missed: below }));
else for (const row of rows) console.log(show(row));
if (values.strict && below.length > 0) {
  console.error(`missed: ${below.join("; ")}`);
  process.exitCode = 1;
}

function show({ name, value, unit, against }: Row): string {
  const figure = `${value >= 100 ? value.toFixed(0) : value.toFixed(value < 1 ? 2 : 1)} ${unit}`.padStart(14);
  if (!against) return `${name.padEnd(44)}${figure}`;
  const { ratio, atLeast, atMost } = against;
  const rule = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast.toFixed(2)}`;
  return `${name.padEnd(44)}${figure}   ${ratio.toFixed(2)} × ${against.row} (${rule}: ${holds(against) ? "yes" : "NO"})`;
}
