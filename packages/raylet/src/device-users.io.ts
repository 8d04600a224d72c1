import { readFile } from "node:fs/promises";
import type { DeviceUser } from "./device-eyes.ts";
import { statOf } from "./process-table.io.ts";
import { RAYLET_MARK } from "./runtime-directory.ts";
import { WORKER_MARK } from "./worker-start.ts";

/** Ancestors that are asked for our mark: a process may have dropped its environment. */
const ANCESTORS_LIMIT = 64;
const LEASE = "WHIPRAY_LEASE";

/**
 * Who this process is: it, or one of its ancestors, carries our mark, or it is a stranger.
 * @param incarnation of the raylet whose processes are ours; without one those of every raylet are.
 */
export async function deviceUser(pid: number, incarnation?: string): Promise<DeviceUser> {
  const self = statOf(pid);
  if (!self) return { is: "unseen", pid };
  for (let at: { pid: number; parent: number } | undefined = self, left = ANCESTORS_LIMIT; at && left > 0; left--) {
    const marks = await marksOf(at.pid);
    const mark = marks.get(RAYLET_MARK);
    if (mark !== undefined && (incarnation === undefined || mark === incarnation)) {
      const [leaseId, workerId] = [marks.get(LEASE), marks.get(WORKER_MARK)];
      return {
        is: "ours",
        pid,
        ...(leaseId !== undefined && { leaseId }),
        ...(workerId !== undefined && { workerId }),
      };
    }
    at = at.parent > 1 ? statOf(at.parent) : undefined;
  }
  return { is: "foreign", pid, name: await nameOf(pid) };
}

/** Our variables in the environment that a process was started with; of other users' processes none can be read. */
async function marksOf(pid: number): Promise<Map<string, string>> {
  const text = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "");
  const ours = text.split("\0").filter((entry) => entry.startsWith("WHIPRAY_"));
  return new Map(ours.map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]));
}

/** The short name of a process; its pid alone when it is gone. */
export async function nameOf(pid: number): Promise<string> {
  return (await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "")).trim();
}
