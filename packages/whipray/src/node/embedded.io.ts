import { homedir } from "node:os";
import { Worker } from "node:worker_threads";
import { asWhiprayError, type ErrorWire, errorFromWire, WhiprayError } from "@whipray/core";
import type { InitOptions } from "../init.ts";
import { compileCache } from "./compile-cache.ts";
import { sibling } from "./sibling.ts";
import type { ThreadStart } from "./thread-entry.io.ts";

/** What a driver needs to know of the cluster that runs beside it. */
export interface EmbeddedAccess {
  headUrl: string;
  token: string;
  localNode: string;
}

export interface Embedded {
  access: EmbeddedAccess;
  /** Ends head and raylet and everything that runs there. */
  stop(): Promise<void>;
}

/** Options that the thread takes: plain data. */
export interface EmbeddedOptions {
  resources: Record<string, number>;
  labels: Record<string, string>;
  cwd: string;
  env: Record<string, string>;
}

export type EmbeddedNews = { ready: EmbeddedAccess } | { failed: ErrorWire } | { stopped: true };

/**
 * Starts head and raylet in a thread of this process, never on its main loop (design.md, mechanism 6). The library installs no signal
 * handlers: when the process dies, workers and guards notice by their closed connections.
 */
export async function startEmbedded(options: InitOptions, timeoutMs: number): Promise<Embedded> {
  const { numCpus, numGpus, numNpus, memory, resources = {}, labels = {} } = options;
  const counts = { CPU: numCpus, GPU: numGpus, NPU: numNpus, memory };
  const given = Object.fromEntries(
    Object.entries(counts).filter((entry): entry is [string, number] => entry[1] !== undefined),
  );
  const data: EmbeddedOptions = {
    resources: { ...resources, ...given },
    labels: { ...labels },
    cwd: process.cwd(),
    env: Object.fromEntries(
      Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
    ),
  };
  const start: ThreadStart = {
    entry: sibling("embedded-main.io").href,
    compileCache: compileCache(process.env, homedir()),
    data,
  };
  const thread = new Worker(sibling("thread-entry.io"), { workerData: start, name: "whipray" });
  const exited = new Promise<void>((resolve) => thread.once("exit", () => resolve()));
  const access = await new Promise<EmbeddedAccess>((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        new WhiprayError({
          code: "TIMEOUT",
          message: `The embedded cluster was not up within ${timeoutMs} ms`,
          retryable: true,
        }),
      );
      void thread.terminate();
    }, timeoutMs);
    thread.once("error", (error) => reject(asWhiprayError(error)));
    thread.once("message", (news: EmbeddedNews) => {
      if ("ready" in news) resolve(news.ready);
      else if ("failed" in news) reject(errorFromWire(news.failed));
    });
    thread.once("exit", () =>
      reject(new WhiprayError({ code: "EMBEDDED_EXIT", message: "The embedded cluster ended while it started" })),
    );
    void exited.finally(() => clearTimeout(timer));
    thread.once("message", () => clearTimeout(timer));
  });
  let stopping: Promise<void> | undefined;
  return {
    access,
    stop: () => {
      stopping ??= (async () => {
        thread.postMessage("stop");
        await exited;
      })();
      return stopping;
    },
  };
}
