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
else for (const row of rows) console.log(show(row, rows));

function show({ name, value, unit, against }: Row, all: readonly Row[]): string {
  const figure = `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${unit}`.padStart(14);
  const limit = all.find((row) => row.name === against?.row);
  if (!against || !limit) return `${name.padEnd(44)}${figure}`;
  const ratio = value / limit.value;
  const held = ratio >= (against.atLeast ?? 0) && ratio <= (against.atMost ?? Number.POSITIVE_INFINITY);
  const rule = against.atLeast === undefined ? `at most ${against.atMost}` : `at least ${against.atLeast.toFixed(2)}`;
  return `${name.padEnd(44)}${figure}   ${ratio.toFixed(2)} × ${against.row} (${rule}: ${held ? "yes" : "NO"})`;
}
