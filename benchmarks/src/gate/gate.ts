import { init } from "whipray";
import type { Counter } from "../counter.ts";
import { BATCH, openRawLimits } from "../limits/raw.ts";
import { together } from "../measure.ts";
import { medianOf } from "../statistics.ts";
import { familyCpuMs } from "./cpu.ts";

const COUNTER = new URL("../counter.ts", import.meta.url);
const ARRAY_BYTES = 16 * 1_048_576;
/** Rounds that count, after one of warming up. */
const ROUNDS = 3;
/** A row has fallen when it reaches less than this part of what was recorded: other machines and busy ones differ by less, a slip into another class by more. */
export const FALLEN_PART = 1 / 3;

/** By name: processor time of the raw limit over that of ours, for the same work. 1 would be as cheap as bare sockets. */
export type GateRows = Readonly<Record<string, number>>;

interface Pair {
  name: string;
  ours: () => Promise<unknown>;
  limit: () => unknown;
  /** Steps of a round: of ours and of the limit, which may be cheaper. */
  steps: readonly [number, number];
}

/**
 * The main figures in processor time of this process and all that it started, in turns with their limits. Time on the clock is what a busy machine
 * spoils first; processor time for a fixed number of steps hardly changes.
 */
export async function gate(): Promise<GateRows> {
  const cluster = await init({ numCpus: 4 });
  const limits = await openRawLimits();
  try {
    const counter = await cluster.actor<Counter>(COUNTER, "Counter").create();
    const from = new Uint8Array(ARRAY_BYTES).fill(1);
    const to = new Uint8Array(ARRAY_BYTES).fill(2);
    const pairs: Pair[] = [
      { name: "actor calls, sync", ours: () => counter.add(1), limit: limits.ping, steps: [1_500, 3_000] },
      {
        name: "actor calls, 1 000 at once",
        ours: () => together(() => counter.add(1), BATCH),
        limit: limits.batch,
        steps: [40, 80],
      },
      {
        name: "put of 16 MiB",
        ours: async () => (await cluster.put(from)).dispose(),
        limit: () => to.set(from),
        steps: [30, 30],
      },
    ];
    const rows: Record<string, number> = {};
    for (const pair of pairs) rows[pair.name] = await partOf(pair);
    return rows;
  } finally {
    limits.close();
    await cluster.close();
  }
}

async function partOf({ ours, limit, steps }: Pair): Promise<number> {
  const parts: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const mine = await cpuOf(ours, steps[0]);
    const raw = await cpuOf(limit, steps[1]);
    if (round > 0) parts.push(raw / mine);
  }
  return medianOf(parts);
}

/** Milliseconds of processor time a step. */
async function cpuOf(step: () => unknown, steps: number): Promise<number> {
  const before = familyCpuMs(process.pid);
  for (let i = 0; i < steps; i++) await step();
  return (familyCpuMs(process.pid) - before) / steps;
}

/** Rows that reach less than `FALLEN_PART` of what was recorded, or are not there any more, in words. */
export function fallen(recorded: GateRows, now: GateRows): string[] {
  return Object.entries(recorded).flatMap(([name, before]) => {
    const today = now[name];
    if (today !== undefined && today >= before * FALLEN_PART) return [];
    const reached = today === undefined ? "nothing" : today.toFixed(3);
    return [`${name}: ${reached} of its raw limit in processor time; recorded were ${before.toFixed(3)}`];
  });
}
