import { parentPort } from "node:worker_threads";
import { runSeed } from "./workload.ts";

/** What a thread is asked, and what it answers. */
export interface SeedAsk {
  readonly seed: number;
  readonly steps: number;
}
export interface SeedAnswer {
  readonly seed: number;
  /** What the seed went through, in one line, or why it failed. */
  readonly report?: string;
  readonly failure?: string;
}

parentPort?.on("message", ({ seed, steps }: SeedAsk) => {
  const answer = (more: Omit<SeedAnswer, "seed">): void => parentPort?.postMessage({ seed, ...more });
  runSeed(seed, { steps }).then(
    (report) => answer({ report: JSON.stringify(report) }),
    (error: unknown) => answer({ failure: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});
