import { execFileSync, fork } from "node:child_process";
import { readFileSync } from "node:fs";

/** One measured figure; more is better, unless the unit is a time or a size. */
export interface Row {
  name: string;
  value: number;
  unit: "/s" | "ms" | "MB";
  /** Name of the row that bounds it, and the share of it that the issue expects at least (for times: at most). */
  against?: { row: string; atLeast?: number; atMost?: number };
}

/** Calls a second, one after another: the median of `rounds` rounds of `roundMs`. */
export async function sequential(call: () => Promise<unknown>, rounds = 5, roundMs = 400): Promise<number> {
  for (const endAt = performance.now() + roundMs; performance.now() < endAt; ) await call();
  const rates: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const startedAt = performance.now();
    let calls = 0;
    while (performance.now() - startedAt < roundMs) {
      await call();
      calls++;
    }
    rates.push((calls * 1_000) / (performance.now() - startedAt));
  }
  return median(rates);
}

/** Calls a second with `width` under way at once. */
export async function pipelined(
  call: () => Promise<unknown>,
  width = 1_000,
  rounds = 5,
  batches = 10,
): Promise<number> {
  const rates: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const startedAt = performance.now();
    for (let batch = 0; batch < batches; batch++) await Promise.all(Array.from({ length: width }, call));
    rates.push((width * batches * 1_000) / (performance.now() - startedAt));
  }
  return median(rates.slice(1));
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Milliseconds of a bare Node start that does nothing: median of `times`. */
export function bareNodeStartMs(times = 7): number {
  return median(
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
    for (const [, size] of memoryMap(pid).matchAll(/^Private_(?:Clean|Dirty):\s+(\d+)/gm)) kb += Number(size);
  }
  return kb / 1_024;
}

function memoryMap(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  } catch {
    // It ended while we looked.
    return "";
  }
}

/** A helper process of the benchmark; ready when it sends its first message. */
export async function helper(file: URL, args: readonly string[]): Promise<{ stop(): void }> {
  const child = fork(file, args, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  await new Promise<void>((resolve, reject) => {
    child.once("message", () => resolve());
    child.once("exit", (code) => reject(new Error(`${file.pathname} ended with ${code}`)));
  });
  return { stop: () => void child.kill("SIGKILL") };
}
