import {
  asWhiprayError,
  type Clock,
  delay,
  type Logger,
  type ResourceUnits,
  type Timer,
  WhiprayError,
} from "@whipray/core";
import { type NodeRoomRow, nodeRooms } from "@whipray/rpc";
import type { HeadLink } from "./head-link.ts";
import { emptied, spaceWithout } from "./node-choice.ts";

/** A view that is older is asked for again before it decides, or while tasks wait. */
export const VIEW_AGE_MS = 250;
/** And this much longer for each node: large clusters are told less often. */
const VIEW_AGE_PER_NODE_MS = 2;
/** And at this age in any case. */
export const VIEW_IDLE_MS = 30_000;
/** What a request may lose by waiting for a newer view. */
const SOON_MS = 100;
const ASK_LIMIT_MS = 2_000;

/**
 * The other nodes as the head last told of them; asked for only when a task may be passed on. While the head is away they count as free, each
 * time anew: who is asked for a place that is not there refuses (design.md, mechanism 4).
 */
export class ClusterView {
  readonly #head: HeadLink;
  readonly #nodeId: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #others: NodeRoomRow[] = [];
  /** As told, without what we sent there since. */
  #told: NodeRoomRow[] = [];
  #version: number | undefined;
  #atMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;
  #timer: Timer | undefined;

  constructor(head: HeadLink, nodeId: string, clock: Clock, logger: Logger) {
    this.#head = head;
    this.#nodeId = nodeId;
    this.#clock = clock;
    this.#logger = logger;
  }

  get others(): readonly NodeRoomRow[] {
    return this.#others;
  }

  /** How old a view may become. */
  get everyMs(): number {
    return VIEW_AGE_MS + VIEW_AGE_PER_NODE_MS * this.#others.length;
  }

  get isFresh(): boolean {
    return this.#clock.now() - this.#atMs < this.everyMs;
  }

  /** Until the next answer of the head this node has less. */
  sent(nodeId: string, units: ResourceUnits): void {
    this.#others = this.#others.map((node) => {
      return node.nodeId === nodeId ? { ...node, ...spaceWithout(node, units) } : node;
    });
  }

  /** A head that has just taken our registration may be another one than told last. From now on the view is never old for long. */
  reset(): void {
    this.#version = undefined;
    this.#atMs = Number.NEGATIVE_INFINITY;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(0, () => this.#renew());
  }

  /** For the time when the head is down: nobody could be asked then. */
  #renew(): void {
    void this.refresh();
    this.#timer = this.#clock.after(VIEW_IDLE_MS, () => this.#renew());
  }

  close(): void {
    this.#timer?.cancel();
  }

  /** As `refresh`, but waits no longer than a head needs that is there. */
  async refreshSoon(): Promise<void> {
    await Promise.race([this.refresh(), delay(this.#clock, SOON_MS)]);
  }

  /** Asks the head. Never rejects. */
  refresh(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #ask(): Promise<void> {
    const { peer, registered } = this.#head;
    try {
      if (!peer || !registered) throw new WhiprayError({ code: "UNREACHABLE", message: "the head is away" });
      const version = this.#version;
      const answer = await peer.invoke(nodeRooms, version === undefined ? {} : { version }, {
        timeoutMs: ASK_LIMIT_MS,
      });
      const { nodes, changed = [], gone = [] } = answer;
      const told = nodes ?? merged(this.#told, changed, gone);
      this.#told = told.filter(({ nodeId }) => nodeId !== this.#nodeId);
      this.#others = this.#told;
      this.#version = answer.version;
      this.#atMs = this.#clock.now();
    } catch (error) {
      this.#others = this.#told.map(asIfIdle);
      this.#logger.debug("no newer view of the cluster", { error: asWhiprayError(error).message });
    }
  }
}

/** What changed takes its place, what came the end. */
function merged(told: NodeRoomRow[], changed: readonly NodeRoomRow[], gone: readonly string[]): NodeRoomRow[] {
  if (changed.length === 0 && gone.length === 0) return told;
  const rows = new Map(told.map((row) => [row.nodeId, row]));
  for (const nodeId of gone) rows.delete(nodeId);
  for (const row of changed) rows.set(row.nodeId, row);
  return [...rows.values()];
}

function asIfIdle(node: NodeRoomRow): NodeRoomRow {
  return { ...node, ...emptied(node) };
}
