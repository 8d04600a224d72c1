import type { Start } from "./steps.ts";
import type { Actor } from "./targets.ts";

const TARGETS = new URL("./targets.ts", import.meta.url);
/** For the maximum rate, after as much of warming up. */
const MAXIMUM_SECONDS = 1;
/** Calls under way while the maximum is measured: each is sent when another one comes back, as in the open loop one by one and not in batches, which are cheaper. */
export const MAXIMUM_WIDTH = 64;

/** Calls of one actor at a part of the rate that it reached just before. */
export const OPEN_LOOP_STEPS: Readonly<Record<string, Start>> = Object.fromEntries(
  [0.25, 0.5, 0.75].map((part) => [`open-loop-${part * 100}`, atPartOfMaximum(part)]),
);

function atPartOfMaximum(part: number): Start {
  return async (cluster) => {
    const actor = await cluster.actor<Actor>(TARGETS, "Actor").create();
    const call = (): Promise<unknown> => actor.smallValue();
    await maximum(call);
    const perSecond = (await maximum(call)) * part;
    return { latencies: (seconds) => openLoop(call, perSecond, seconds), end: () => cluster.kill(actor) };
  };
}

async function maximum(call: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  let calls = 0;
  const caller = async (): Promise<void> => {
    for (; performance.now() - startedAt < MAXIMUM_SECONDS * 1_000; calls++) await call();
  };
  await Promise.all(Array.from({ length: MAXIMUM_WIDTH }, caller));
  return (calls * 1_000) / (performance.now() - startedAt);
}

/** The time, and a turn of the event loop: timers, which are exact to a millisecond at best, are not asked. A test has its own. */
export interface LoopTime {
  nowMs(): number;
  turn(): Promise<void>;
}

const REAL: LoopTime = {
  nowMs: () => performance.now(),
  turn: () => new Promise((resolve) => setImmediate(resolve)),
};

/** Sends each call when it is due; what a late turn of the loop held up counts from then, too. Seconds of each. */
export async function openLoop(
  call: () => Promise<unknown>,
  perSecond: number,
  seconds: number,
  { nowMs, turn }: LoopTime = REAL,
): Promise<number[]> {
  const took: number[] = [];
  const count = Math.max(1, Math.floor(perSecond * seconds));
  const startedAt = nowMs();
  const pending: Promise<void>[] = [];
  for (let sent = 0; sent < count; ) {
    for (; sent < count; sent++) {
      const dueAt = startedAt + (sent * 1_000) / perSecond;
      if (dueAt > nowMs()) break;
      pending.push(call().then(() => void took.push((nowMs() - dueAt) / 1_000)));
    }
    await turn();
  }
  await Promise.all(pending);
  return took;
}
