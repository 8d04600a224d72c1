import { type Clock, delay, type Logger } from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import type { Processes } from "./processes.ts";
import type { Quarantine } from "./quarantine.ts";
import { WORKER_MARK } from "./worker-start.ts";
import type { Worker } from "./workers.ts";

/** How long what an ended worker started is killed before it counts as stuck. */
const SWEEP_MS = 5_000;
const STUCK_PAUSE_MS = 1_000;

export interface WorkerSweepsOptions {
  readonly processes: Processes;
  readonly quarantine: Quarantine;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Ends what workers started and left: children in other sessions, double forks. */
export class WorkerSweeps {
  readonly #options: WorkerSweepsOptions;

  constructor(options: WorkerSweepsOptions) {
    this.#options = options;
  }

  /** After the end of the worker. What cannot be killed holds its devices in quarantine. A guard finds more than we can. */
  async sweep(worker: Worker, devices: readonly DeviceGrant[]): Promise<void> {
    const { quarantine } = this.#options;
    const { tree } = worker.child;
    if (tree) return quarantine.ended(worker.workerId, await tree.stop(0), devices, tree);
    const left = await this.#swept(worker);
    if (left === 0) return;
    const reason = `${left} processes that ${worker.workerId} started cannot be killed`;
    quarantine.hold(devices, reason, this.#sweptAtLast(worker));
  }

  /** How many are left. When nobody can tell, one: what may be there must not be ignored. */
  async #swept({ workerId, child }: Worker): Promise<number> {
    const { processes, logger } = this.#options;
    try {
      return (await processes.sweep(WORKER_MARK, workerId, SWEEP_MS, child.startTime)).left;
    } catch (error) {
      logger.error("processes could not be looked at", { workerId, error: String(error) });
      return 1;
    }
  }

  async #sweptAtLast(worker: Worker): Promise<void> {
    do await delay(this.#options.clock, STUCK_PAUSE_MS);
    while ((await this.#swept(worker)) > 0);
  }
}
