import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { marked, read } from "../marked.ts";
import { ussMb } from "../measure.ts";
import type { Start } from "./steps.ts";

/** Daemons have this variable, with a value of this run and column, in their environment; their workers name the cluster. */
export const MARK = "WHIPRAY_BENCH_MARK";
const NODE_MODULES = fileURLToPath(new URL("../../node_modules", import.meta.url));
const CPU_SECONDS = 3;
/** USER_HZ of Linux: what /proc counts processor time in. */
const TICKS_PER_SECOND = 100;

/** What driver and cluster cost while nothing runs. */
export const FAMILY_STEPS: Readonly<Record<string, Start>> = {
  "idle-memory": ({ id }) => ({ figure: async () => ussMb(family(id)) }),
  "idle-processes": ({ id }) => ({ figure: async () => family(id).length }),
  "installed-size": () => ({ figure: async () => bytesBelow(NODE_MODULES) / 1_048_576 }),
  "idle-cpu": ({ id }) => ({
    figure: async () => {
      const before = ticks(id);
      await sleep(CPU_SECONDS * 1_000);
      return ((ticks(id) - before) / TICKS_PER_SECOND / CPU_SECONDS) * 100;
    },
  }),
};

function family(cluster: string): number[] {
  return marked([`${MARK}=${process.env[MARK]}`, `WHIPRAY_CLUSTER=${cluster}`]);
}

function ticks(cluster: string): number {
  let total = 0;
  for (const pid of family(cluster)) {
    const fields = read(`/proc/${pid}/stat`).split(") ")[1]?.split(" ") ?? [];
    total += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }
  return total;
}

function bytesBelow(folder: string): number {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => lstatSync(join(folder, name)))
    .reduce((sum, stat) => sum + (stat.isFile() ? stat.size : 0), 0);
}
