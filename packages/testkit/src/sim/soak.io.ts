import { runSeed, STEPS } from "./workload.ts";

// node packages/testkit/src/sim/soak.io.ts [seeds] [first seed] [steps]: runs so many seeds, prints those that fail.
const [seeds = 100, first = 1, steps = STEPS] = process.argv.slice(2).map(Number);
const failed: number[] = [];
for (let seed = first; seed < first + seeds; seed++) {
  try {
    const report = await runSeed(seed, { steps });
    process.stdout.write(`${JSON.stringify(report)}\n`);
  } catch (error) {
    failed.push(seed);
    process.stdout.write(`seed ${seed} FAILED: ${error instanceof Error ? error.stack : String(error)}\n`);
  }
}
process.stdout.write(
  `${seeds - failed.length} of ${seeds} seeds passed${failed.length > 0 ? `; failed: ${failed}` : ""}\n`,
);
if (failed.length > 0) process.exitCode = 1;
