import type { Cluster } from "whipray";
import type { small } from "./counter.ts";
import { type Row, sequential, together } from "./measure.ts";
import { medianOf } from "./statistics.ts";

const HERE = new URL("./counter.ts", import.meta.url);
/** Tasks, and refs, at once. */
const WIDTH = 1_000;
const VALUE_BYTES = 64 * 1_048_576;
const VALUE_ROUNDS = 15;

/** Tasks, wait, and large values; of issue 4, which sets them no floor. */
export async function valueRows(
  cluster: Cluster,
  row: (name: string, value: number, unit: Row["unit"], against?: Row["against"]) => void,
): Promise<void> {
  const task = cluster.task<typeof small>(HERE, "small");
  row("tasks, sync", await sequential(() => task()), "/s");
  row("tasks, async", (await sequential(() => together(() => task(), WIDTH))) * WIDTH, "/s");
  const waited = async (): Promise<void> => {
    let pending = Array.from({ length: WIDTH }, () => task.remote());
    while (pending.length > 0) [, pending] = await cluster.wait(pending);
  };
  row("tasks and wait of 1 000 refs, one by one", await sequential(waited, 3), "/s");
  await largeRows(cluster, row);
}

async function largeRows(cluster: Cluster, row: Parameters<typeof valueRows>[1]): Promise<void> {
  const value = new Uint8Array(VALUE_BYTES).fill(7);
  const target = new Uint8Array(VALUE_BYTES).fill(1);
  const rounds: { memcpy: number; put: number; get: number }[] = [];
  for (let round = 0; round <= VALUE_ROUNDS; round++) {
    const memcpy = await gigabytesPerSecond(() => target.set(value));
    // Its pages were used before, as in a program that goes on: a segment is taken again.
    let ref = await cluster.put(value);
    ref.dispose();
    const put = await gigabytesPerSecond(async () => {
      ref = await cluster.put(value);
    });
    const get = await gigabytesPerSecond(async () => {
      const view = await cluster.get(ref);
      if (view[0] !== 7 || view.at(-1) !== 7) throw new Error("read something else than was put");
    });
    ref.dispose();
    if (round > 0) rounds.push({ memcpy, put, get });
  }
  row("memcpy of 64 MiB", medianOf(rounds.map(({ memcpy }) => memcpy)), "GB/s");
  const ratio = (of: "put" | "get"): Row["against"] => {
    return { row: "memcpy of 64 MiB", ratio: medianOf(rounds.map((round) => round[of] / round.memcpy)) };
  };
  row("put of 64 MiB", medianOf(rounds.map(({ put }) => put)), "GB/s", ratio("put"));
  row("get of 64 MiB (a view)", medianOf(rounds.map(({ get }) => get)), "GB/s", ratio("get"));
}

async function gigabytesPerSecond(work: () => unknown): Promise<number> {
  const startedAt = performance.now();
  await work();
  return VALUE_BYTES / 1e6 / (performance.now() - startedAt);
}
