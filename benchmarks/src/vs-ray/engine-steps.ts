import { fileURLToPath } from "node:url";
import { RayScheduler } from "@whipray/scheduler";
import type { Cluster } from "whipray";
import type { Running, Start } from "./steps.ts";

const ENGINES = fileURLToPath(new URL("../../engines", import.meta.url));
const MIB = 1_048_576;

/** Rows of an RPC-server actor that passes calls to a Python engine. */
export const ENGINE_STEPS: Readonly<Record<string, Start>> = {
  "engine-1-kib": (cluster) => echo(cluster, 1_024),
  "engine-1-mib": (cluster) => echo(cluster, MIB),
  "engine-64-mib": (cluster) => echo(cluster, 64 * MIB),
  "engine-async": async (cluster) => {
    const { call, end } = await engine(cluster);
    return { step: () => Promise.all(Array.from({ length: 1_000 }, () => call(1))), end };
  },
};

async function echo(cluster: Cluster, bytes: number): Promise<Running> {
  const { call, end } = await engine(cluster);
  const array = new Uint8Array(bytes).fill(1);
  return {
    step: async () => {
      const back = (await call(array)) as Uint8Array;
      if (back.byteLength !== bytes) throw new Error(`${back.byteLength} bytes came back`);
      cluster.release(back);
    },
    end,
  };
}

async function engine(cluster: Cluster): Promise<{ call: (value: unknown) => Promise<unknown>; end: () => unknown }> {
  const scheduler = new RayScheduler({ cluster });
  const task = { cpu: 1, mem: 0.1, envVars: { PYTHONPATH: ENGINES } };
  const [id] = await scheduler.createWorkers({ role: "echo", replicas: 1, tasks: [task] });
  await scheduler.createEngine(id!, "bench_engines.Echo");
  return {
    call: (value) => scheduler.callEngine(id!, "echo", { args: [value] }),
    end: () => scheduler.deleteWorkers("echo"),
  };
}
