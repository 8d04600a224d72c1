import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { RayScheduler } from "@whipray/scheduler";
import { type Cluster, init } from "whipray";
import type { Counter } from "./counter.ts";
import { BATCH, openRawLimits, type RawLimits } from "./limits/raw.ts";
import { bareNodeStartMs, inTurns, type Row, sequential, together, ussMb } from "./measure.ts";
import { valueRows } from "./quick-values.ts";

const COUNTER = new URL("./counter.ts", import.meta.url);
/** Calls of an engine at once. */
const ENGINE_WIDTH = 200;
const ENGINES = fileURLToPath(new URL("../engines", import.meta.url));

type Add = (name: string, value: number, unit: Row["unit"], against?: Row["against"]) => void;

/** `npm run bench -- quick`: the main figures beside the physical limits of the same run. */
export async function quick(): Promise<Row[]> {
  const rows: Row[] = [];
  const row: Add = (name, value, unit, against) => {
    rows.push({ name, value, unit, ...(against && { against }) });
  };
  const bareMs = bareNodeStartMs();
  row("bare Node start", bareMs, "ms");
  const startedAt = performance.now();
  const cluster = await init({ numCpus: 64 });
  let limits: RawLimits | undefined;
  try {
    const counter = await cluster.actor<Counter>(COUNTER, "Counter").create();
    await counter.add(1);
    const firstMs = performance.now() - startedAt;
    row("init to first actor result", firstMs, "ms", { row: "bare Node start", ratio: firstMs / bareMs, atMost: 6 });

    // Only now: their processes would start at the expense of the cluster's.
    limits = await openRawLimits();
    const sync = await inTurns(() => counter.add(1), limits.ping);
    row("raw unix ping", sync.limit, "/s");
    row("actor calls, sync", sync.ours, "/s", { row: "raw unix ping", ratio: sync.ratio, atLeast: 1 / 2 });
    const pipelined = await inTurns(() => together(() => counter.add(1), BATCH), limits.batch);
    row("raw batched frames", pipelined.limit * BATCH, "/s");
    const batched = { row: "raw batched frames", ratio: pipelined.ratio, atLeast: 1 / 5 };
    row("actor calls, pipelined", pipelined.ours * BATCH, "/s", batched);
    await engineRows(cluster, limits, row);
    row("placement groups created, ready, removed", await sequential(() => group(cluster)), "/s");
    const launch = async (): Promise<void> => {
      const one = await cluster.actor<Counter>(COUNTER, "Counter").create();
      await one.add(1);
      await cluster.kill(one);
    };
    row("actor launches, one at a time", await sequential(launch, 3, 1_500), "/s");
    await cluster.kill(counter);
    row("idle memory beside a bare process", ussMb(familyOf(cluster.id)) - BARE_MB, "MB");
    // Last: its values and task workers are no idle memory.
    await valueRows(cluster, row);
  } finally {
    limits?.close();
    await cluster.close();
  }
  return rows;
}

const BARE_MB = ussMb([process.pid]);

async function engineRows(cluster: Cluster, limits: RawLimits, row: Add): Promise<void> {
  await using scheduler = new RayScheduler({ cluster });
  const [id] = await scheduler.createWorkers({
    role: "echo",
    replicas: 1,
    tasks: [{ cpu: 1, mem: 0.1, envVars: { PYTHONPATH: ENGINES } }],
  });
  await scheduler.createEngine(id as string, "bench_engines.Echo");
  const echo = () => scheduler.callEngine(id as string, "echo", { args: [1] });
  const sync = await inTurns(echo, limits.twoHop);
  row("raw two-hop ping, Node to Python", sync.limit, "/s");
  const twoHop = { row: "raw two-hop ping, Node to Python", ratio: sync.ratio, atLeast: 1 / 2 };
  row("engine calls, sync", sync.ours, "/s", twoHop);
  row("engine calls, pipelined", (await sequential(() => together(echo, ENGINE_WIDTH))) * ENGINE_WIDTH, "/s");
}

async function group(cluster: Cluster): Promise<void> {
  const one = await cluster.placementGroup([{ CPU: 1 }]);
  await one.ready();
  await one.remove();
}

/** This process and the processes of the cluster. */
function familyOf(cluster: string): number[] {
  const mine = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && belongs(name, cluster));
  return [process.pid, ...mine.map(Number)];
}

function belongs(pid: string, cluster: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8").includes(`WHIPRAY_CLUSTER=${cluster}`);
  } catch {
    // It ended while we looked.
    return false;
  }
}
