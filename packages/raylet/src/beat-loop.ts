import { asWhiprayError, type Clock, type Logger, type RandomSource, type Timer } from "@whipray/core";
import { type Endpoint, nodeBeat, nodeRenewals, type Peer } from "@whipray/rpc";
import type { BeatListener, BeatPeer, Beats, BeatTerms } from "./beats.ts";
import { NodeLease, type OwnRenewals, type PeerAnswer } from "./node-lease.ts";

/** How often the lease is judged once renewals are late. */
export const JUDGE_MS = 250;
/** A beat that is not answered by then was lost; the next ones count. */
const BEAT_LIMIT_MS = 3_000;
/** A peer that has not answered by then counts as not reached. */
const ASK_LIMIT_MS = 1_000;
/** Peers that are asked at a time. */
export const ASKED_PEERS_LIMIT = 5;

export interface BeatLoopOptions {
  /** Its links of purpose `beat` are its own: a stalled data link holds up nothing here. */
  readonly endpoint: Endpoint;
  readonly headUrl: string;
  readonly nodeId: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
}

/** Sends beats, asks peers when they are not answered, and judges. Runs in the beat thread, or in a simulation. */
export class BeatLoop implements Beats {
  readonly #options: BeatLoopOptions;
  #listener: BeatListener | undefined;
  #terms: BeatTerms | undefined;
  #lease: NodeLease | undefined;
  /** Who is asked when the head is silent. */
  #peers: readonly BeatPeer[] = [];
  #peersVersion: number | undefined;
  #beat = 0;
  #beatTimer: Timer | undefined;
  #judgeTimer: Timer | undefined;
  #asking = false;
  #state = "renewed";
  #closed = false;

  constructor(options: BeatLoopOptions) {
    this.#options = options;
  }

  listen(listener: BeatListener): void {
    this.#listener = listener;
  }

  registered(terms: BeatTerms): void {
    const { clock } = this.#options;
    const first = this.#terms === undefined;
    this.#terms = terms;
    this.#peers = terms.peers;
    // Versions are those of one head; this may be another.
    this.#peersVersion = undefined;
    if (first) {
      this.#lease = new NodeLease(clock.now());
      this.#sendBeat();
      this.#judge();
    } else {
      // The head has just spoken to us.
      this.#lease?.renewed(clock.now());
    }
  }

  answer(): OwnRenewals {
    const never = Number.MAX_SAFE_INTEGER;
    return this.#lease?.answer(this.#options.clock.now()) ?? { renewedAgoMs: never, steadyMs: 0 };
  }

  #sendBeat(): void {
    if (this.#closed || !this.#terms) return;
    const { clock, endpoint, headUrl, nodeId, logger } = this.#options;
    const { epoch, beatMs } = this.#terms;
    const peersVersion = this.#peersVersion;
    this.#beatTimer = clock.after(beatMs, () => this.#sendBeat(), { keepAlive: true });
    const sentAtMs = clock.now();
    const head = endpoint.connect({ to: "head/head", url: headUrl, purpose: "beat", restarts: true });
    const n = ++this.#beat;
    const renewedAgoMs = Math.round(this.answer().renewedAgoMs);
    const beat = { nodeId, epoch, n, renewedAgoMs, ...(peersVersion !== undefined && { peersVersion }) };
    head.invoke(nodeBeat, beat, { timeoutMs: BEAT_LIMIT_MS }).then(
      ({ peers }) => {
        if (epoch !== this.#terms?.epoch) return;
        this.#lease?.renewed(sentAtMs);
        this.#listener?.onRenewed?.();
        if (!peers) return;
        this.#peers = peers.nodes;
        this.#peersVersion = peers.version;
      },
      (thrown: unknown) => {
        const { code } = asWhiprayError(thrown);
        logger.trace("beat not answered", { n, code });
        if (code === "STALE_EPOCH" && epoch === this.#terms?.epoch) this.#listener?.onRefused();
      },
    );
  }

  #judge(): void {
    if (this.#closed || !this.#lease) return;
    const { clock } = this.#options;
    const nowMs = clock.now();
    const waitMs = this.#lease.calmUntilMs(nowMs) - nowMs + JUDGE_MS;
    this.#judgeTimer = clock.after(waitMs, () => this.#judge(), { keepAlive: true });
    const turn = this.#lease.turn(nowMs);
    if (turn.askPeers && !this.#asking) void this.#askPeers(this.#lease);
    if (turn.state === this.#state && turn.fence === undefined) return;
    this.#state = turn.state;
    this.#listener?.onTurn(turn);
  }

  async #askPeers(lease: NodeLease): Promise<void> {
    this.#asking = true;
    const { clock } = this.#options;
    const asked = this.#somePeers().map(async ({ nodeId, url }): Promise<PeerAnswer | undefined> => {
      const target = { to: `${nodeId}/raylet`, url: url!, purpose: "beat", restarts: true } as const;
      try {
        const peer: Peer = this.#options.endpoint.connect(target);
        return await peer.invoke(nodeRenewals, {}, { timeoutMs: ASK_LIMIT_MS });
      } catch {
        return undefined; // not reached: no evidence either way
      }
    });
    const answers = (await Promise.all(asked)).filter((answer) => answer !== undefined);
    lease.peersAnswered(answers, clock.now());
    // Not more often than once in ASK_LIMIT_MS, also where everybody refuses at once.
    clock.after(ASK_LIMIT_MS / 2, () => {
      this.#asking = false;
    });
  }

  #somePeers(): BeatPeer[] {
    const { nodeId, random } = this.#options;
    const peers = this.#peers.filter((peer) => peer.url !== undefined && peer.nodeId !== nodeId);
    for (let at = peers.length - 1; at > 0; at--) {
      const other = random.below(at + 1);
      [peers[at], peers[other]] = [peers[other]!, peers[at]!];
    }
    return peers.slice(0, ASKED_PEERS_LIMIT);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#beatTimer?.cancel();
    this.#judgeTimer?.cancel();
  }
}
