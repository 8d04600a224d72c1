import { enableCompileCache } from "node:module";
import { workerData } from "node:worker_threads";
import { type FirstWorkerStart, startFirstWorker } from "./first-worker-spawn.io.ts";

/** What a thread of ours is started with: its real entry, and the folder of compiled code that makes its start quick. */
export interface ThreadStart {
  entry: string;
  compileCache: string;
  /** Started before the entry is loaded. */
  firstWorker?: FirstWorkerStart;
  data: unknown;
}

const { entry, compileCache, firstWorker } = workerData as ThreadStart;
if (firstWorker) startFirstWorker(firstWorker);
enableCompileCache(compileCache);
await import(entry);
