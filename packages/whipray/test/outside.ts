import { readdirSync, readFileSync } from "node:fs";

/** Waits for a condition that the cluster reaches by itself. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
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
