import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { RayScheduler } from "@whipray/scheduler";
import { type Cluster, init } from "whipray";
import type { Counter } from "./counter.ts";
import { rawLimits } from "./limits/raw.ts";
import { bareNodeStartMs, pipelined, type Row, sequential, ussMb } from "./measure.ts";

const COUNTER = new URL("./counter.ts", import.meta.url);
const ENGINES = fileURLToPath(new URL("../engines", import.meta.url));

/** `npm run bench -- quick`: the main figures beside the physical limits of the same run. */
export async function quick(): Promise<Row[]> {
  const rows: Row[] = [];
  const row = (name: string, value: number, unit: Row["unit"], against?: Row["against"]): void => {
    rows.push({ name, value, unit, ...(against && { against }) });
  };
  row("bare Node start", bareNodeStartMs(), "ms");
  const startedAt = performance.now();
  const cluster = await init({ numCpus: 64 });
  try {
    const counter = await cluster.actor<Counter>(COUNTER, "Counter").create();
    await counter.add(1);
    row("init to first actor result", performance.now() - startedAt, "ms", { row: "bare Node start", atMost: 6 });

    const limits = await rawLimits();
    row("raw unix ping", limits.ping, "/s");
    row("raw batched frames", limits.batched, "/s");
    row("raw two-hop ping, Node to Python", limits.twoHop, "/s");
    row("actor calls, sync", await sequential(() => counter.add(1)), "/s", { row: "raw unix ping", atLeast: 1 / 2 });
    row("actor calls, pipelined", await pipelined(() => counter.add(1)), "/s", {
      row: "raw batched frames",
      atLeast: 1 / 5,
    });
    await engineRows(cluster, row);
    row("placement groups created, ready, removed", await sequential(() => group(cluster)), "/s");
    const launch = async (): Promise<void> => {
      const one = await cluster.actor<Counter>(COUNTER, "Counter").create();
      await one.add(1);
      await cluster.kill(one);
    };
    row("actor launches, one at a time", await sequential(launch, 3, 1_500), "/s");
    await cluster.kill(counter);
    row("idle memory beside a bare process", ussMb(familyOf(cluster.id)) - BARE_MB, "MB");
  } finally {
    await cluster.close();
  }
  return rows;
}

const BARE_MB = ussMb([process.pid]);

async function engineRows(
  cluster: Cluster,
  row: (name: string, value: number, unit: Row["unit"], against?: Row["against"]) => void,
): Promise<void> {
  await using scheduler = new RayScheduler({ cluster });
  const [id] = await scheduler.createWorkers({
    role: "echo",
    replicas: 1,
    tasks: [{ cpu: 1, mem: 0.1, envVars: { PYTHONPATH: ENGINES } }],
  });
  await scheduler.createEngine(id as string, "bench_engines.Echo");
  const echo = () => scheduler.callEngine(id as string, "echo", { args: [1] });
  row("engine calls, sync", await sequential(echo), "/s", { row: "raw two-hop ping, Node to Python", atLeast: 1 / 2 });
  row("engine calls, pipelined", await pipelined(echo, 200), "/s");
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
