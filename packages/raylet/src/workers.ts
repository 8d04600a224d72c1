import { type Clock, type IdSource, type Logger, type Timer, WhiprayError } from "@whipray/core";
import { type Endpoint, type Peer, workerExit, workerReady } from "@whipray/rpc";
import type { CauseBook } from "./cause-book.ts";
import { type Corpse, causeError, deathCause, showExit } from "./death-cause.ts";
import type { KnownLogs } from "./known-logs.ts";
import type { LogWriter } from "./logs.ts";
import type { Child, ProcessExit, Processes, SpawnSpec } from "./processes.ts";
import { WARM_IDLE_MS, WorkerPool } from "./worker-pool.ts";
import { type EarlyWorker, type WorkerStart, workerSpec } from "./worker-start.ts";

/** From the start of a process to its `worker.ready` (Ray: 60 s). */
export const WORKER_START_LIMIT_MS = 60_000;
/** What a worker gets beyond its grace before it is killed. */
const EXIT_MARGIN_MS = 250;

/** A worker process that is up. */
export interface Worker {
  readonly workerId: string;
  /** `node/worker` */
  readonly address: string;
  readonly pid: number;
  readonly socket: string;
  readonly peer: Peer;
  readonly child: Child;
  readonly log: LogWriter;
}

/** Another way to start the process of a worker than as a plain child of ours. */
export type WorkerSpawn = (spec: SpawnSpec, workerId: string) => Promise<Child>;

/** How a worker starts that cannot be a warm one (mechanism 12). */
export interface WorkerHow {
  readonly spawn?: WorkerSpawn | undefined;
  /** Its working directory: the copy of a runtime environment's. */
  readonly cwd?: string | undefined;
}

export interface WorkersOptions extends Omit<WorkerStart, "incarnation"> {
  /** A worker process is gone. */
  readonly onEnded?: (address: string) => void;
  readonly endpoint: Endpoint;
  readonly processes: Processes;
  readonly logs: KnownLogs;
  readonly causes: CauseBook;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly logger: Logger;
}

interface Starting {
  readonly child: Child;
  readonly log: LogWriter;
  readonly ready: PromiseWithResolvers<Worker>;
}

/** The worker processes of this node: started cold, or one kept warm (mechanism 12). */
export class Workers {
  readonly #options: WorkersOptions;
  readonly #pool = new WorkerPool();
  readonly #starting = new Map<string, Starting>();
  readonly #live = new Map<string, Child>();
  readonly #blanks = new Map<string, Promise<Worker>>();
  /** By address. */
  readonly #ready = new Map<string, Worker>();
  #idleTimer: Timer | undefined;
  #closed = false;

  constructor(options: WorkersOptions) {
    this.#options = options;
    options.endpoint.serve(workerReady, ({ workerId, pid, socket }, call) => {
      const starting = this.#starting.get(workerId);
      if (!starting || call.peer.role !== "worker") {
        const message = `${workerId} was not started by this raylet, or has said that it is ready before`;
        throw new WhiprayError({ code: "FORBIDDEN", message, details: { workerId } });
      }
      const { child, log, ready } = starting;
      this.#starting.delete(workerId);
      const address = `${options.nodeId}/${workerId}`;
      const worker: Worker = { workerId, address, pid, socket, peer: call.peer, child, log };
      this.#ready.set(address, worker);
      ready.resolve(worker);
      this.#pool.ready(workerId, options.clock.now());
      this.#watchIdle();
      return {};
    });
  }

  /**
   * A process for an actor with this environment.
   * With `how` it is a new process, started so.
   * @throws WhiprayError `SPAWN_FAILED`, or what `spawn` threw; `WORKER_START_FAILED` with how it ended and its last words.
   */
  async take(env: Readonly<Record<string, string>>, signal: AbortSignal, how: WorkerHow = {}): Promise<Worker> {
    const action = how.spawn || how.cwd !== undefined ? ({ do: "cold" } as const) : this.#pool.request(env);
    const warmId = action.do === "take" ? action.workerId : "";
    const warm = this.#blanks.get(warmId);
    this.#blanks.delete(warmId);
    if (action.do === "take" && action.next) this.prestart();
    if (warm) {
      const worker = await this.#abortable(warmId, signal, warm).catch(() => undefined);
      if (worker) return worker;
      // A blank one that died before it was of use must not fail an actor.
      signal.throwIfAborted();
    }
    const workerId = this.#options.ids.next("worker");
    return this.#abortable(workerId, signal, this.#start(workerId, env, undefined, how, signal));
  }

  /** Aborting kills the process while it starts. */
  #abortable(workerId: string, signal: AbortSignal, worker: Promise<Worker>): Promise<Worker> {
    const kill = (): void => void this.#live.get(workerId)?.kill("SIGKILL");
    signal.addEventListener("abort", kill);
    return worker.finally(() => signal.removeEventListener("abort", kill));
  }

  /** Work is likely soon, since an actor runs now or a program has just started: the pool may want a blank process. */
  prestart(early?: EarlyWorker): void {
    const { clock, ids, logger } = this.#options;
    if (this.#closed || this.#pool.expected(clock.now())?.do !== "prestart") return;
    const workerId = early?.workerId ?? ids.next("worker");
    this.#pool.prestarted(workerId, clock.now());
    const worker = this.#start(workerId, {}, early);
    this.#blanks.set(workerId, worker);
    worker.catch((error: unknown) => {
      this.#blanks.delete(workerId);
      this.#pool.ended(workerId, clock.now());
      logger.warn("a blank worker did not start", { workerId, error: String(error) });
    });
  }

  /** Asks it to leave, kills it when it has not after `graceMs`. Resolves when it is gone. */
  async stop(worker: Pick<Worker, "child"> & { peer?: Peer }, graceMs: number): Promise<ProcessExit> {
    const { child, peer } = worker;
    if (graceMs > 0 && peer && !peer.closed) {
      peer.invoke(workerExit, { graceMs }).catch(() => {}); // its end is what we wait for, not its answer
      const timer = this.#options.clock.after(graceMs + EXIT_MARGIN_MS, () => child.kill("SIGKILL"));
      return child.exited.finally(() => timer.cancel());
    }
    child.kill("SIGKILL");
    return child.exited;
  }

  /** Kills every worker, also those that are starting. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#idleTimer?.cancel();
    const children = [...this.#live.values()];
    await Promise.all(children.map((child) => this.stop({ child }, 0)));
  }

  /** A worker that is up. */
  find(address: string): Worker | undefined {
    return this.#ready.get(address);
  }

  get count(): number {
    return this.#live.size;
  }

  async #start(
    workerId: string,
    extra: Readonly<Record<string, string>>,
    early?: EarlyWorker,
    { spawn = (spec) => this.#options.processes.spawn(spec), cwd }: WorkerHow = {},
    signal?: AbortSignal,
  ): Promise<Worker> {
    const { logs, clock, nodeId, endpoint } = this.#options;
    if (this.#closed) throw new WhiprayError({ code: "NODE_LEAVING", message: `${nodeId} is shutting down` });
    const log = logs.open(workerId);
    const ready = Promise.withResolvers<Worker>();
    let child: Child;
    try {
      const start = { ...this.#options, incarnation: endpoint.incarnation };
      child = await (early?.adopt(log) ??
        spawn({ ...workerSpec(start, workerId, extra), ...(cwd !== undefined && { cwd }), log }, workerId));
    } catch (error) {
      await log.close();
      throw error;
    }
    this.#starting.set(workerId, { child, log, ready });
    this.#live.set(workerId, child);
    // A guard takes its time: nobody may want what it started any more.
    if (signal?.aborted) child.kill("SIGKILL");
    const timer = clock.after(WORKER_START_LIMIT_MS, () => child.kill("SIGKILL"));
    void child.exited.then((exit) => this.#ended(workerId, { nodeId, pid: child.pid, exit, log }, ready));
    return ready.promise.finally(() => timer.cancel());
  }

  #ended(workerId: string, corpse: Corpse, ready: PromiseWithResolvers<Worker>): void {
    const { clock, causes, nodeId } = this.#options;
    this.#starting.delete(workerId);
    this.#live.delete(workerId);
    this.#blanks.delete(workerId);
    this.#pool.ended(workerId, clock.now());
    const message = `worker process ${corpse.pid} ended with ${showExit(corpse.exit)}`;
    const cause = deathCause("WORKER_DIED", message, corpse);
    const address = `${nodeId}/${workerId}`;
    causes.put(address, cause);
    // Its session would wait for it to come back; the process cannot.
    this.#ready.get(address)?.peer.close(causeError(address, cause));
    this.#ready.delete(address);
    this.#options.onEnded?.(address);
    // Nobody waits for it when it was ready before.
    ready.promise.catch(() => {});
    ready.reject(
      new WhiprayError({
        code: "WORKER_START_FAILED",
        message: `${message} before it was ready`,
        details: { workerId, cause },
        where: {
          node: nodeId,
          process: workerId,
          pid: corpse.pid,
          stderrTail: corpse.log.errorTail(),
          logPath: corpse.log.path,
        },
      }),
    );
    void corpse.log.close();
  }

  #watchIdle(): void {
    this.#idleTimer?.cancel();
    this.#idleTimer = this.#options.clock.after(WARM_IDLE_MS, () => {
      const action = this.#pool.tick(this.#options.clock.now());
      if (action?.do !== "stop") return;
      const blank = this.#blanks.get(action.workerId);
      this.#blanks.delete(action.workerId);
      void blank?.then((worker) => this.stop(worker, 0)).catch(() => {}); // it ended by itself
    });
  }
}
