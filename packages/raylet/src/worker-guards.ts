import { type Clock, delay } from "@whipray/core";
import type { GuardedTree, Guards } from "./guards.ts";
import type { Lease } from "./ledger.ts";
import type { NodeDevice } from "./node-identity.ts";
import type { Child } from "./processes.ts";
import { WORKER_MARK } from "./worker-start.ts";
import type { WorkerSpawn } from "./workers.ts";

/** How long the end of a worker waits for what it wrote last, while processes that it started live on. */
const LAST_WORDS_MS = 500;

export interface WorkerGuardsOptions {
  readonly guards: Guards;
  readonly clock: Clock;
  readonly devices: readonly NodeDevice[];
}

/**
 * Workers with devices run under a guard as engines do (design.md, mechanism 11): it holds the devices' locks until nothing is left that
 * the worker started, whatever became of its session, its parent or its environment, and ends it all when we die or fall silent.
 */
export class WorkerGuards {
  readonly #options: WorkerGuardsOptions;

  constructor(options: WorkerGuardsOptions) {
    this.#options = options;
  }

  /**
   * How a worker of this lease starts; undefined, as any other child of ours, when nobody else can have its devices.
   * What it returns throws as `Guards.start` does.
   */
  spawnFor({ devices }: Lease, epoch: number): WorkerSpawn | undefined {
    const { guards, clock, devices: known } = this.#options;
    const granted = new Set(devices.map((device) => device.uuid));
    const locks = known.filter((device) => device.shared && granted.has(device.uuid)).map((device) => device.lockPath);
    if (locks.length === 0) return undefined;
    return async ({ command, args, env, cwd, log }, workerId) => {
      const named = { treeId: workerId, mark: WORKER_MARK, epoch };
      const tree = await guards.start({
        ...named,
        argv: [command, ...args],
        cwd,
        env,
        locks,
        graceMs: 0,
        log,
        pty: false,
      });
      return guardedChild(tree, clock);
    };
  }
}

function guardedChild(tree: GuardedTree, clock: Clock): Child {
  let running = true;
  void tree.exited.then(() => {
    running = false;
  });
  return {
    pid: tree.pid,
    startTime: tree.startTime,
    terminal: undefined,
    tree,
    // Its last words may still be in the pipe: all of them are here when the tree is gone.
    exited: tree.exited.then(async (exit) => {
      await Promise.race([tree.gone, delay(clock, LAST_WORDS_MS)]);
      return exit;
    }),
    // The guard's end of a tree is the whole tree's: no signal does less.
    kill() {
      if (running) void tree.stop(0);
      return running;
    },
  };
}
