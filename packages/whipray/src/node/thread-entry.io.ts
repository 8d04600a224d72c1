import { enableCompileCache } from "node:module";
import { workerData } from "node:worker_threads";

/** What a thread of ours is started with: its real entry, and the folder of compiled code that makes its start quick. */
export interface ThreadStart {
  entry: string;
  compileCache: string;
  data: unknown;
}

const { entry, compileCache } = workerData as ThreadStart;
enableCompileCache(compileCache);
await import(entry);
