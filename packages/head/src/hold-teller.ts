import { asWhiprayError, type Logger, type ResourceUnits } from "@whipray/core";
import { nodeHold } from "@whipray/rpc";
import type { NodeTable } from "./node-table.ts";
import type { Raylets } from "./raylets.ts";

/** An answer takes no longer than this, or the next look tells it again. */
const TELL_LIMIT_MS = 2_000;

/**
 * Tells raylets what starving groups hold on their nodes, when that changes: tasks are granted by the raylets alone, and would take what
 * frees up before the head knows of it (design.md, mechanism 4).
 */
export class HoldTeller {
  readonly #nodes: NodeTable;
  readonly #raylets: Raylets;
  readonly #logger: Logger;
  /** By node, what its raylet was told under which registration. */
  readonly #told = new Map<string, string>();
  readonly #telling = new Set<string>();

  constructor(nodes: NodeTable, raylets: Raylets, logger: Logger) {
    this.#nodes = nodes;
    this.#raylets = raylets;
    this.#logger = logger;
  }

  tell(holds: ReadonlyMap<string, ResourceUnits>): void {
    for (const nodeId of new Set([...holds.keys(), ...this.#told.keys()])) {
      const record = this.#nodes.record(nodeId);
      if (record && !record.dead) void this.#tell(nodeId, record.epoch, holds.get(nodeId));
      else this.#told.delete(nodeId);
    }
  }

  /** A raylet that registers forgets what it was told. */
  async #tell(nodeId: string, nodeEpoch: number, units: ResourceUnits | undefined): Promise<void> {
    const news = JSON.stringify([nodeEpoch, units]);
    const told = this.#told.get(nodeId);
    const peer = this.#raylets.peer(nodeId);
    if (told === news || this.#telling.has(nodeId) || !peer) return;
    if (units === undefined && !told?.startsWith(`[${nodeEpoch},`)) {
      this.#told.delete(nodeId);
      return;
    }
    this.#telling.add(nodeId);
    try {
      await peer.invoke(nodeHold, { nodeEpoch, units: { ...units } }, { timeoutMs: TELL_LIMIT_MS });
      if (units === undefined) this.#told.delete(nodeId);
      else this.#told.set(nodeId, news);
    } catch (error) {
      this.#logger.debug("a raylet was not told what is held there", { nodeId, error: asWhiprayError(error).message });
    } finally {
      this.#telling.delete(nodeId);
    }
  }
}
