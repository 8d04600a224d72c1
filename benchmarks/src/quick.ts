import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { RayScheduler } from "@whipray/scheduler";
import { type Cluster, init } from "whipray";
import type { Counter } from "./counter.ts";
import type { Idle } from "./idle.ts";
import { BATCH, openRawLimits, type RawLimits } from "./limits/raw.ts";
import { bareNodeStartMs, inTurns, type Row, sequential, together } from "./measure.ts";
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
    await valueRows(cluster, row);
  } finally {
    limits?.close();
    await cluster.close();
  }
  idleRows(row);
  return rows;
}

/** Of a program that does nothing else: this one's own calls, promises and helpers would count, too. */
function idleRows(row: Add): void {
  const said = execFileSync(process.execPath, [fileURLToPath(new URL("./idle.ts", import.meta.url))], {
    encoding: "utf8",
  });
  const { memoryMb, cpuPercent } = JSON.parse(said) as Idle;
  row("idle memory beyond a bare process", memoryMb, "MB");
  row("processor time while idle", cpuPercent, "%");
}

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
