import { readFileSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";

/** What a reader must know of the machine and the versions to make sense of the figures. */
export interface Facts {
  date: string;
  cores: number;
  cpu: string;
  memoryGiB: number;
  kernel: string;
  node: string;
  python: string;
  ray: string;
  whipray: string;
  /** Load of the last minute when the run began: a busy machine spoils it. */
  load: number;
}

export function factsOf(python: string, ray: string, whipray: string): Facts {
  return {
    date: new Date().toISOString(),
    cores: availableParallelism(),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    python,
    ray,
    whipray,
    load: Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]),
  };
}
