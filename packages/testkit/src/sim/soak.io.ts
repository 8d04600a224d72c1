import { runSeeds } from "./seeds.io.ts";
import { STEPS } from "./workload.ts";

// node packages/testkit/src/sim/soak.io.ts [seeds] [first seed] [steps]: runs so many seeds, prints those that fail.
const [count = 100, first = 1, steps = STEPS] = process.argv.slice(2).map(Number);
const seeds = Array.from({ length: count }, (_, at) => first + at);
const failed = await runSeeds({
  seeds,
  steps,
  onEnd: ({ seed, report, failure }) => process.stdout.write(`${report ?? `seed ${seed} FAILED: ${failure}`}\n`),
});
const which = failed.map(({ seed }) => seed).join(", ");
process.stdout.write(`${count - failed.length} of ${count} seeds passed${which && `; failed: ${which}`}\n`);
if (failed.length > 0) process.exitCode = 1;
