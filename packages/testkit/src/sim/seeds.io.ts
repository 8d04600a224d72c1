import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { sibling } from "@whipray/core";
import type { SeedAnswer, SeedAsk } from "./seed-thread.ts";

export interface SeedRun {
  readonly seeds: readonly number[];
  /** Random steps of each. */
  readonly steps: number;
  /** Told of each as it ends. */
  readonly onEnd?: (answer: SeedAnswer) => void;
  /** Default: as many as there are processors. */
  readonly threads?: number;
}

/** Runs seeds on threads of their own, so many at once as there are processors. Answers with those that failed, and why. */
export async function runSeeds({
  seeds,
  steps,
  onEnd,
  threads = availableParallelism(),
}: SeedRun): Promise<SeedAnswer[]> {
  const left = [...seeds];
  const failed: SeedAnswer[] = [];
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      // A cluster is young garbage soon: with more room for it half as much is copied.
      const resourceLimits = { maxYoungGenerationSizeMb: 64 };
      const worker = new Worker(sibling("seed-thread", import.meta.url), { execArgv: [], resourceLimits });
      const next = (): void => {
        const seed = left.shift();
        if (seed === undefined) void worker.terminate().then(() => resolve());
        else worker.postMessage({ seed, steps } satisfies SeedAsk);
      };
      worker.on("message", (answer: SeedAnswer) => {
        if (answer.failure !== undefined) failed.push(answer);
        onEnd?.(answer);
        next();
      });
      worker.once("error", reject);
      next();
    });
  await Promise.all(Array.from({ length: Math.min(threads, seeds.length) }, one));
  return failed;
}
