import { WhiprayError } from "@whipray/core";
import type { ChildProcesses, EarlyWorker } from "@whipray/raylet";
import { firstStarted } from "./first-worker-spawn.io.ts";

/** The cluster does not come up: nobody will take it. */
export function abandonFirstWorker(): void {
  firstStarted?.child.kill("SIGKILL");
}

/** The worker that `startFirstWorker` started, for the raylet of this thread. */
export function firstWorker(): ((processes: ChildProcesses) => EarlyWorker) | undefined {
  if (!firstStarted) return undefined;
  const started = firstStarted;
  const { workerId, child } = started;
  return (processes) => ({
    workerId,
    async adopt(log) {
      if (child.pid === undefined) {
        const message = `could not start ${child.spawnfile}: ${started.failure?.message ?? "no process"}`;
        throw new WhiprayError({ code: "SPAWN_FAILED", message, cause: started.failure });
      }
      // It waits for this: now the sockets and the file with its token are there.
      child.stdin?.end();
      return processes.adopt(child, log);
    },
  });
}
