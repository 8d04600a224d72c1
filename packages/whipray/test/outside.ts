import { readdirSync, readFileSync } from "node:fs";

/** Waits for a condition that the cluster reaches by itself. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Ids of the clusters to which processes that this one started belong. */
export function clustersOfChildren(): string[] {
  const found = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const parent = / (\d+) /.exec(readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) \S/s, ""))?.[1];
        const cluster = /WHIPRAY_CLUSTER=([^\0]+)/.exec(readFileSync(`/proc/${pid}/environ`, "utf8"))?.[1];
        return Number(parent) === process.pid && cluster !== undefined ? [cluster] : [];
      } catch {
        return [];
      }
    });
  return [...new Set(found)];
}

/** Processes that carry the cluster's mark, this one aside: the cluster is not asked. */
export function processesOf(cluster: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, "utf8").includes(`WHIPRAY_CLUSTER=${cluster}`);
      } catch {
        return false;
      }
    });
}
