import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { fallen, type GateRows, gate } from "./gate/gate.ts";
import { holds, missed, type Row } from "./measure.ts";
import { quick } from "./quick.ts";
import { expectations, holdsUp, scale, table } from "./scale/scale.ts";
import { vsRay } from "./vs-ray/vs-ray.ts";

const USAGE = `usage: npm run bench -- quick [--json] [--strict]
       npm run bench -- gate [--against FILE] [--json]
       npm run bench -- scale [--json] [--strict]
       npm run bench -- --vs-ray [--quick] [--rows a,b] [--seconds N] [--rounds N] [--against FILE] [--readme] [--json]`;

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof TypeError && "code" in error)) throw error;
  // An option that parseArgs does not know.
  console.error(`${error.message}\n${USAGE}`);
  process.exitCode = 2;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      strict: { type: "boolean", default: false },
      "vs-ray": { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      rows: { type: "string", default: "" },
      seconds: { type: "string" },
      rounds: { type: "string", default: "5" },
      against: { type: "string" },
      readme: { type: "boolean", default: false },
    },
  });
  const { json, against, readme } = values;
  if (values["vs-ray"] && positionals.length === 0) {
    const seconds = Number(values.seconds ?? (values.quick ? 0.5 : 2));
    const rounds = Number(values.rounds);
    if (!(seconds > 0 && seconds <= 600) || !Number.isInteger(rounds) || rounds < 1 || rounds > 1_000) {
      console.error(`--seconds is more than 0 and at most 600, --rounds a whole number from 1 to 1000\n${USAGE}`);
      return 2;
    }
    const rows = values.rows.split(",").filter(Boolean);
    const out = fileURLToPath(new URL("../../..", import.meta.url)); // out/ of the working tree: this file runs in out/bench/app/src
    const folder = process.env["WHIPRAY_BENCH_FOLDER"];
    if (folder === undefined) throw new Error("WHIPRAY_BENCH_FOLDER is set by scripts/bench.ts");
    return await vsRay({ rows, seconds, rounds, quick: values.quick, json, against, readme, folder, out });
  }
  const [what] = positionals;
  if (values["vs-ray"] || positionals.length !== 1 || !["quick", "scale", "gate"].includes(what!)) {
    console.error(USAGE);
    return 2;
  }
  if (what === "gate") {
    const rows = await gate();
    if (json) console.log(JSON.stringify(rows, undefined, 2));
    else for (const [name, part] of Object.entries(rows)) console.log(`${name.padEnd(44)}${part.toFixed(3)}`);
    const recorded = against === undefined ? {} : (JSON.parse(readFileSync(against, "utf8")) as GateRows);
    return judged(fallen(recorded, rows), true);
  }
  if (what === "scale") {
    const sizes = scale();
    const expected = expectations(sizes);
    if (json) console.log(JSON.stringify({ node: process.version, sizes, expected }));
    else for (const line of table(sizes)) console.log(line);
    return judged(
      expected.filter((one) => !holdsUp(one)).map(({ name }) => name),
      values.strict,
    );
  }
  const rows = await quick();
  const below = missed(rows);
  if (json) console.log(JSON.stringify({ node: process.version, rows, missed: below }));
  else for (const row of rows) console.log(show(row));
  return judged(below, values.strict);
}

/** Exit code: missing something is an error only for those who ask for it. */
function judged(below: readonly string[], strict: boolean): number {
  if (!strict || below.length === 0) return 0;
  console.error(`missed: ${below.join("; ")}`);
  return 1;
}

function show({ name, value, unit, against }: Row): string {
  const figure = `${value >= 100 ? value.toFixed(0) : value.toFixed(value < 1 ? 2 : 1)} ${unit}`.padStart(14);
  if (!against) return `${name.padEnd(44)}${figure}`;
  const { ratio, atLeast, atMost } = against;
  const part = `${name.padEnd(44)}${figure}   ${ratio.toFixed(2)} × ${against.row}`;
  if (atLeast === undefined && atMost === undefined) return part;
  const rule = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast.toFixed(2)}`;
  return `${part} (${rule}: ${holds(against) ? "yes" : "NO"})`;
}
