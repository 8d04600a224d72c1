import { once } from "node:events";
import { createInterface } from "node:readline";
import { type Cluster, init } from "whipray";
import { ALL_STEPS } from "./all-steps.ts";
import type { SideReply, SideRequest } from "./side-protocol.ts";
import type { Running } from "./steps.ts";

// Whipray's side: `node whipray-side.ts embedded`, or `connected` with WHIPRAY_ADDRESS and WHIPRAY_TOKEN in its environment.

/** Also in the round that warms up. */
const LEAST_OPEN_LOOP_SECONDS = 0.2;

const address = process.env["WHIPRAY_ADDRESS"];
const cluster: Cluster =
  process.argv[2] === "embedded" ? await init({ resources: { custom: 100 } }) : await init({ address: address! });
const running = new Map<string, Running>();
await answer({ ready: true, facts: { pid: process.pid, cluster: cluster.id } });
for await (const line of createInterface({ input: process.stdin })) {
  await answer(
    await handle(JSON.parse(line) as SideRequest).catch((error: unknown) => ({ error: String(error).slice(0, 500) })),
  );
}
await cluster.close();

async function handle(request: SideRequest): Promise<SideReply> {
  if ("end" in request) {
    await running.get(request.end)?.end?.();
    running.delete(request.end);
    return { ended: true };
  }
  const { row, seconds, scale } = request;
  if (!running.has(row)) {
    const start = ALL_STEPS[row];
    if (!start) throw new Error(`no loop ${row}`);
    running.set(row, await start(cluster, scale));
  }
  const { figure, latencies, step } = running.get(row)!;
  if (figure) return { value: await figure() };
  if (latencies) return { took: await latencies(Math.max(seconds, LEAST_OPEN_LOOP_SECONDS)) };
  return { took: await measure(step!, seconds) };
}

/** Steps until the time is over, at least one; the seconds that each took. */
async function measure(step: () => unknown, seconds: number): Promise<number[]> {
  const took: number[] = [];
  const startedAt = performance.now();
  let now = startedAt;
  while (took.length === 0 || now - startedAt < seconds * 1_000) {
    await step();
    const then = now;
    now = performance.now();
    took.push((now - then) / 1_000);
  }
  return took;
}

async function answer(reply: SideReply): Promise<void> {
  if (!process.stdout.write(`${JSON.stringify(reply)}\n`)) await once(process.stdout, "drain");
}
