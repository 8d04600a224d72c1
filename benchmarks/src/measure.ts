import { execFileSync, fork } from "node:child_process";
import { read } from "./marked.ts";
import { medianOf } from "./statistics.ts";

/** One measured figure; more is better, unless the unit is a time or a size. */
export interface Row {
  name: string;
  value: number;
  unit: "/s" | "ms" | "MB" | "%" | "GB/s";
  /** Name of the row that bounds it, what part of it was reached, and what the issue expects at least (for times: at most), if anything. */
  against?: { row: string; ratio: number; atLeast?: number; atMost?: number };
}

/** Whether a row reaches what the issue expects of it. */
export function holds({ ratio, atLeast = 0, atMost = Number.POSITIVE_INFINITY }: NonNullable<Row["against"]>): boolean {
  return ratio >= atLeast && ratio <= atMost;
}

/** Names of the rows that do not reach it. */
export function missed(rows: readonly Row[]): string[] {
  return rows.filter(({ against }) => against && !holds(against)).map(({ name }) => name);
}

/** Two rates, measured in turns. */
export interface Compared {
  ours: number;
  limit: number;
  /** Median of the rounds' own ratios: both sides of each saw the same state of the machine. */
  ratio: number;
}

/** Steps a second of ours and of a limit, in turns: rounds of `roundMs` each, after one of warming up. */
export async function inTurns(
  ours: () => Promise<unknown>,
  limit: () => Promise<unknown>,
  rounds = 9,
  roundMs = 250,
): Promise<Compared> {
  const pairs: [number, number][] = [];
  for (let round = 0; round <= rounds; round++) {
    const pair: [number, number] = [await rateFor(ours, roundMs), await rateFor(limit, roundMs)];
    if (round > 0) pairs.push(pair);
  }
  return {
    ours: medianOf(pairs.map(([mine]) => mine)),
    limit: medianOf(pairs.map(([, raw]) => raw)),
    ratio: medianOf(pairs.map(([mine, raw]) => mine / raw)),
  };
}

async function rateFor(step: () => Promise<unknown>, ms: number): Promise<number> {
  const startedAt = performance.now();
  let steps = 0;
  for (; performance.now() - startedAt < ms; steps++) await step();
  return (steps * 1_000) / (performance.now() - startedAt);
}

/** Calls a second, one after another: the median of `rounds` rounds of `roundMs`, after one of warming up. */
export async function sequential(call: () => Promise<unknown>, rounds = 5, roundMs = 400): Promise<number> {
  const rates: number[] = [];
  for (let round = 0; round <= rounds; round++) rates.push(await rateFor(call, roundMs));
  return medianOf(rates.slice(1));
}

/** `width` calls at once. */
export function together(call: () => Promise<unknown>, width: number): Promise<unknown> {
  return Promise.all(Array.from({ length: width }, call));
}

/** Milliseconds of a bare Node start that does nothing: median of `times`. */
export function bareNodeStartMs(times = 7): number {
  return medianOf(
    Array.from({ length: times }, () => {
      const startedAt = performance.now();
      execFileSync(process.execPath, ["-e", "0"]);
      return performance.now() - startedAt;
    }),
  );
}

/** Private memory (USS) of this process and everything that it started, in MB. */
export function ussMb(pids: readonly number[]): number {
  let kb = 0;
  for (const pid of pids) {
    for (const [, size] of read(`/proc/${pid}/smaps_rollup`).matchAll(/^Private_(?:Clean|Dirty):\s+(\d+)/gm))
      kb += Number(size);
  }
  return kb / 1_024;
}

/** A helper process of the benchmark; ready when it sends its first message. */
export async function helper(file: URL, args: readonly string[]): Promise<{ stop(): void }> {
  // Of its own group: Ctrl-C in a terminal is for whoever reports what was measured.
  const child = fork(file, args, { stdio: ["ignore", "ignore", "inherit", "ipc"], detached: true });
  await new Promise<void>((resolve, reject) => {
    child.once("message", () => resolve());
    child.once("exit", (code) => reject(new Error(`${file.pathname} ended with ${code}`)));
  });
  return { stop: () => void child.kill("SIGKILL") };
}
