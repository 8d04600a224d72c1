import {
  asWhiprayError,
  backoffMs,
  type Clock,
  delay,
  type Logger,
  type RandomSource,
  type WhiprayError,
} from "@whipray/core";
import type { Method, NodeView, Peer } from "@whipray/rpc";
import { ORDER_RETRY, ORDER_TIMEOUT_MS } from "./limits.ts";
import type { NodeTable } from "./node-table.ts";

/** Answers that stand: asking again would bring the same. Whatever else goes wrong, an order is repeated. */
const FINAL = new Set([
  "STALE_EPOCH",
  "NOT_FOUND",
  "BUNDLE_NOT_FOUND",
  "FORBIDDEN",
  "METHOD_NOT_FOUND",
  "INVALID_MESSAGE",
  "INVALID_BUNDLES",
  "RANGE",
]);

/** Sessions to the registered raylets, and orders that must arrive. */
export class Raylets {
  readonly #peers = new Map<string, Peer>();
  readonly #nodes: NodeTable;
  readonly #clock: Clock;
  readonly #random: RandomSource;
  readonly #logger: Logger;
  #closed = false;

  constructor(nodes: NodeTable, clock: Clock, random: RandomSource, logger: Logger) {
    this.#nodes = nodes;
    this.#clock = clock;
    this.#random = random;
    this.#logger = logger;
  }

  /** Calls `lost` when this session ends and no newer one has taken its place. */
  connect(nodeId: string, peer: Peer, lost: (error: WhiprayError) => void): void {
    if (this.#peers.get(nodeId) === peer) return;
    this.#peers.set(nodeId, peer);
    peer.onClose((error) => {
      if (this.#peers.get(nodeId) !== peer) return;
      this.#peers.delete(nodeId);
      lost(error);
    });
  }

  peer(nodeId: string): Peer | undefined {
    const peer = this.#peers.get(nodeId);
    return peer?.closed ? undefined : peer;
  }

  /** The node registered through this session. */
  isOf(nodeId: string, peer: Peer): boolean {
    return this.#peers.get(nodeId) === peer;
  }

  disconnect(nodeId: string): void {
    this.#peers.delete(nodeId);
  }

  /**
   * An order that is safe to repeat: sent until the raylet answers. Undefined when the node is dead or has started anew: then nothing of the
   * order's subject is left there. @throws WhiprayError an answer of the raylet that stands.
   */
  async order<Request, Reply extends { view: NodeView }>(
    nodeId: string,
    method: Method<Request, Reply>,
    request: Request,
  ): Promise<Reply | undefined> {
    const epoch = this.#nodes.record(nodeId)?.epoch;
    for (let attempt = 1; !this.#closed && this.#isThere(nodeId, epoch); attempt++) {
      const reply = await this.#try(nodeId, method, request);
      if (reply) return reply;
      await delay(this.#clock, backoffMs(ORDER_RETRY, attempt, this.#random));
    }
    return undefined;
  }

  #isThere(nodeId: string, epoch: number | undefined): boolean {
    const state = this.#nodes.state(nodeId);
    return state !== "DEAD" && state !== "UNKNOWN" && this.#nodes.record(nodeId)?.epoch === epoch;
  }

  async #try<Request, Reply extends { view: NodeView }>(
    nodeId: string,
    method: Method<Request, Reply>,
    request: Request,
  ): Promise<Reply | undefined> {
    const peer = this.peer(nodeId);
    if (!peer) return undefined;
    try {
      const reply = await peer.invoke(method, request, { timeoutMs: ORDER_TIMEOUT_MS });
      this.viewed(nodeId, reply.view);
      return reply;
    } catch (thrown) {
      const error = asWhiprayError(thrown);
      if (FINAL.has(error.code)) throw error;
      this.#logger.debug("an order is repeated", {
        method: method.name,
        nodeId,
        code: error.code,
        error: error.message,
      });
      return undefined;
    }
  }

  /** A view that came with a reply; nothing when the node has gone on without us. */
  viewed(nodeId: string, view: NodeView): void {
    const record = this.#nodes.record(nodeId);
    if (record && !record.dead && !this.#nodes.isReturning(nodeId)) this.#nodes.viewed(nodeId, record.epoch, view);
  }

  close(): void {
    this.#closed = true;
    this.#peers.clear();
  }
}
