import { readdirSync, readFileSync } from "node:fs";
import type { Counter } from "./counter.ts";
import { ussMb } from "./measure.ts";

// A program of its own, so that it holds nothing but a cluster: starts one, runs an actor and ends it, then does nothing. Prints an `Idle`.

/** What an embedded cluster costs while it does nothing. */
export interface Idle {
  /** Beyond the program before it imported whipray, with all processes of the cluster: a warm worker is among them. */
  memoryMb: number;
  /** Of one processor, all threads of all processes. */
  cpuPercent: number;
}

/** The beats' thread has started, the actor's process is gone, the next warm worker is up. */
const SETTLE_MS = 2_000;
const WATCH_MS = 5_000;

if (import.meta.main) {
  const before = ussMb([process.pid]);
  const { init } = await import("whipray");
  const cluster = await init({ numCpus: 64 });
  const counter = await cluster.actor<Counter>(new URL("./counter.ts", import.meta.url), "Counter").create();
  await counter.add(1);
  await cluster.kill(counter);
  await pause(SETTLE_MS);
  const family = familyOf(cluster.id);
  const cpuMs = cpuMsOf(family);
  await pause(WATCH_MS);
  const idle: Idle = {
    memoryMb: ussMb(family) - before,
    cpuPercent: ((cpuMsOf(family) - cpuMs) * 100) / WATCH_MS,
  };
  await cluster.close();
  console.log(JSON.stringify(idle));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
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

/** Time on a processor, milliseconds. */
function cpuMsOf(pids: readonly number[]): number {
  let ns = 0;
  for (const pid of pids) {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
    }
  }
  return ns / 1e6;
}
