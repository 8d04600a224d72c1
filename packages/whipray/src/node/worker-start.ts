import { homedir } from "node:os";
import { fileURLToPath } from "node:url";
import { sibling } from "@whipray/core";
import type { RuntimeDirectory, WorkerStart } from "@whipray/raylet";
import { compileCache } from "./compile-cache.ts";

/** The file in a raylet's folder with the token of its workers. */
export const WORKER_TOKEN = "worker-token";

/** With what the workers of a raylet in this process are started. */
export function workerStart(
  ids: Pick<WorkerStart, "nodeId" | "cluster" | "incarnation">,
  directory: RuntimeDirectory,
  cwd: string,
  env: Readonly<Record<string, string>>,
): WorkerStart {
  return {
    ...ids,
    nodePath: process.execPath,
    workerEntry: fileURLToPath(sibling("worker-entry.io", import.meta.url)),
    workerTokenFile: directory.secret(WORKER_TOKEN),
    rayletSocket: directory.socket,
    workerSocket: directory.workerSocket,
    cwd,
    env: { ...env, NODE_COMPILE_CACHE: compileCache(env, homedir()) },
  };
}
