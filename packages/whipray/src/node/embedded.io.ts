import { homedir } from "node:os";
import { Worker } from "node:worker_threads";
import { asWhiprayError, type ErrorWire, errorFromWire, randomIds, sibling, WhiprayError } from "@whipray/core";
import { nodeDirectory, spawnArguments, workerSpec } from "@whipray/raylet";
import type { InitOptions } from "../init.ts";
import { compileCache } from "./compile-cache.ts";
import type { FirstWorkerStart } from "./first-worker-spawn.io.ts";
import type { ThreadStart } from "./thread-entry.io.ts";
import { workerStart } from "./worker-start.ts";

/** What a driver needs to know of the cluster that runs beside it. */
export interface EmbeddedAccess {
  headUrl: string;
  token: string;
  localNode: string;
  localRaylet: string;
}

export interface Embedded {
  /** Its sockets are open. */
  access: EmbeddedAccess;
  /** Settles when its node is registered. */
  ready: Promise<void>;
  /** Ends head and raylet and everything that runs there. */
  stop(): Promise<void>;
}

/** Options that the thread takes: plain data. */
export interface EmbeddedOptions {
  clusterId: string;
  nodeId: string;
  /** Of the raylet. */
  incarnation: string;
  resources: Record<string, number>;
  fakeDevices: string | undefined;
  labels: Record<string, string>;
  cwd: string;
  env: Record<string, string>;
}

export type EmbeddedNews = { listening: EmbeddedAccess } | { ready: true } | { failed: ErrorWire };

/**
 * Who embeds a cluster is about to use it (mechanism 12: a blank worker starts on first use). So the first worker comes up while the
 * cluster does; it waits for the raylet, and goes like any other blank one when nobody takes it.
 */
function firstWorkerStart(
  { clusterId, nodeId, incarnation, cwd, env }: EmbeddedOptions,
  workerId: string,
): FirstWorkerStart {
  const directory = nodeDirectory({ cluster: clusterId, nodeId, env });
  const start = workerStart({ nodeId, cluster: clusterId, incarnation }, directory, cwd, env);
  return { workerId, ...spawnArguments(workerSpec(start, workerId), "pipe") };
}

/**
 * Starts head and raylet in a thread of this process, never on its main loop (design.md, mechanism 6). The library installs no signal
 * handlers: when the process dies, workers and guards notice by their closed connections.
 */
export async function startEmbedded(options: InitOptions, timeoutMs: number): Promise<Embedded> {
  const { numCpus, numGpus, numNpus, memory, objectStoreMemory, resources = {}, fakeDevices, labels = {} } = options;
  const counts = { CPU: numCpus, GPU: numGpus, NPU: numNpus, memory, object_store_memory: objectStoreMemory };
  const given = Object.fromEntries(
    Object.entries(counts).filter((entry): entry is [string, number] => entry[1] !== undefined),
  );
  const ids = randomIds();
  const [clusterId, nodeId, incarnation] = [ids.next("cluster"), ids.next("node"), ids.next("inc")];
  const data: EmbeddedOptions = {
    ...{ clusterId, nodeId, incarnation },
    resources: { ...resources, ...given },
    fakeDevices,
    labels: { ...labels },
    cwd: process.cwd(),
    env: Object.fromEntries(
      Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
    ),
  };
  const start: ThreadStart = {
    entry: sibling("embedded-main.io", import.meta.url).href,
    compileCache: compileCache(process.env, homedir()),
    data,
    firstWorker: firstWorkerStart(data, ids.next("worker")),
  };
  // Flags of the program, such as `--input-type`, are not for it.
  const thread = new Worker(sibling("thread-entry.io", import.meta.url), {
    workerData: start,
    execArgv: [],
    name: "whipray",
  });
  const exited = new Promise<void>((resolve) => thread.once("exit", () => resolve()));
  const listening = Promise.withResolvers<EmbeddedAccess>();
  const ready = Promise.withResolvers<void>();
  const fail = (error: WhiprayError): void => {
    listening.reject(error);
    ready.reject(error);
  };
  ready.promise.catch(() => {}); // who waits for `listening` is told the same
  const timer = setTimeout(() => {
    const message = `The embedded cluster was not up within ${timeoutMs} ms`;
    fail(new WhiprayError({ code: "TIMEOUT", message, retryable: true }));
    void thread.terminate();
  }, timeoutMs);
  thread.once("error", (error) => fail(asWhiprayError(error)));
  thread.on("message", (news: EmbeddedNews) => {
    if ("listening" in news) listening.resolve(news.listening);
    else {
      clearTimeout(timer);
      if ("failed" in news) fail(errorFromWire(news.failed));
      else ready.resolve();
    }
  });
  thread.once("exit", () => {
    clearTimeout(timer);
    fail(new WhiprayError({ code: "EMBEDDED_EXIT", message: "The embedded cluster ended while it started" }));
  });
  const access = await listening.promise;
  let stopping: Promise<void> | undefined;
  return {
    access,
    ready: ready.promise,
    stop: () => {
      stopping ??= (async () => {
        thread.postMessage("stop");
        await exited;
      })();
      return stopping;
    },
  };
}
