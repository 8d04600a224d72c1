import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { WhiprayError } from "@whipray/core";
import type { ChildProcesses, EarlyWorker } from "@whipray/raylet";

/** How the first worker of an embedded cluster is started: plain data, made while the cluster's thread is not there yet. */
export interface FirstWorkerStart {
  workerId: string;
  file: string;
  args: string[];
  options: SpawnOptions;
}

let started: { workerId: string; child: ChildProcess } | undefined;
let failure: Error | undefined;

/** Starts it. To be called once, in the thread that will own it, before anything else is loaded there. */
export function startFirstWorker({ workerId, file, args, options }: FirstWorkerStart): void {
  const child = spawn(file, args, options);
  child.on("error", (error) => {
    failure = error;
  });
  started = { workerId, child };
}

/** The cluster does not come up: nobody will take it. */
export function abandonFirstWorker(): void {
  started?.child.kill("SIGKILL");
}

/** The worker that `startFirstWorker` started, for the raylet of this thread. */
export function firstWorker(): ((processes: ChildProcesses) => EarlyWorker) | undefined {
  if (!started) return undefined;
  const { workerId, child } = started;
  return (processes) => ({
    workerId,
    async adopt(log) {
      if (child.pid === undefined) {
        const message = `could not start ${child.spawnfile}: ${failure?.message ?? "no process"}`;
        throw new WhiprayError({ code: "SPAWN_FAILED", message, cause: failure });
      }
      // It waits for this: now the sockets and the file with its token are there.
      child.stdin?.end();
      return processes.adopt(child, log);
    },
  });
}
