import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";

/** How the first worker of an embedded cluster is started: plain data, made while the cluster's thread is not there yet. */
export interface FirstWorkerStart {
  workerId: string;
  file: string;
  args: string[];
  options: SpawnOptions;
}

/** The worker that this thread started ahead of its raylet. */
export let firstStarted: { workerId: string; child: ChildProcess; failure: Error | undefined } | undefined;

/** Starts it. To be called once, in the thread that will own it, before anything else is loaded there: so this file imports nothing of ours. */
export function startFirstWorker({ workerId, file, args, options }: FirstWorkerStart): void {
  const child = spawn(file, args, options);
  const started = { workerId, child, failure: undefined as Error | undefined };
  child.on("error", (error) => {
    started.failure = error;
  });
  firstStarted = started;
}
