import { NodeDiedError } from "@whipray/core";
import { nodesList } from "@whipray/rpc";
import type { Driver } from "./driver.ts";
import type { TaskWorker } from "./task-worker.ts";

/** Workers that are busy for longer than this are watched over, with one look at this interval. */
const WATCH_MS = 1_000;

/**
 * Ends the sessions with workers of dead nodes: a task ends when its node is declared dead (design.md, mechanism 2), which the head knows
 * long before a session with who fell silent gives up.
 */
export class TaskNodeWatch {
  readonly #driver: Driver;
  readonly #busy = new Set<TaskWorker>();
  #watching = false;

  constructor(driver: Driver) {
    this.#driver = driver;
  }

  /** Something was sent to it. */
  busy(worker: TaskWorker): void {
    this.#busy.add(worker);
    this.#later();
  }

  // One timer, however many tasks.
  #later(): void {
    if (this.#watching || this.#busy.size === 0) return;
    this.#watching = true;
    this.#driver.connection.clock.after(WATCH_MS, () => {
      void this.#look().finally(() => {
        this.#watching = false;
        this.#later();
      });
    });
  }

  async #look(): Promise<void> {
    for (const worker of this.#busy) if (worker.running === 0 || worker.peer.closed) this.#busy.delete(worker);
    if (this.#busy.size === 0) return;
    // While the head is away the session's own time limit holds.
    const listed = await this.#driver.ask(nodesList, {}).catch(() => undefined);
    const dead = new Map(listed?.nodes.filter(({ state }) => state === "DEAD").map((node) => [node.nodeId, node]));
    for (const worker of this.#busy) {
      const node = dead.get(worker.nodeId);
      if (!node) continue;
      const { nodeId, deathReason = "no reason known" } = node;
      const error = new NodeDiedError({ message: `Node ${nodeId} is dead: ${deathReason}`, details: { nodeId } });
      worker.raylet.close(error);
      worker.peer.close(error);
    }
  }
}
