/** Times of mechanism 5 (design.md; reliability.md, "Target"). All from the moment at which the last renewed beat was sent. */
export const BEAT_MS = 1_000;
/** Without a renewal for this long the node doubts, and asks its peers. */
export const SUSPECT_MS = 3_000;
/**
 * A node that knows itself cut off ends its own work from here on, and all of it is gone at 8 s; the head gives it away at 10 s. Not at 6 s: a
 * cut of 5 s must end nothing (F11), and before it lies up to one beat, behind it half a second until the kernel sends again.
 */
export const FENCE_MS = 6_750;
/** A peer's renewal younger than this is a live one. */
export const PEER_FRESH_MS = 2_500;
/** What peers said is believed for this long. */
export const EVIDENCE_MS = 2_500;
/** Longest outage of the head that running work survives. */
export const HEAD_OUTAGE_MS = 600_000;

/** What one peer says of its own renewals. */
export interface PeerAnswer {
  readonly renewedAgoMs: number;
  /** How long its renewals have come without a gap. A peer that only just came back proves a restarted head, not our isolation. */
  readonly steadyMs?: number | undefined;
}

/** What we say of our own. */
export interface OwnRenewals {
  readonly renewedAgoMs: number;
  readonly steadyMs: number;
}

/**
 * `renewed`: nothing is wrong. `suspect`: late, asking. `cut-off`: peers are renewed and we are not. `head-down`: nobody is.
 * `alone`: no peer could be asked. `outage-over`: the head has been away for too long.
 */
export type LeaseState = "renewed" | "suspect" | "cut-off" | "head-down" | "alone" | "outage-over";

/** What must end: everything, or only what its owner declared `fence: true`. */
export type Fence = "all" | "declared";

export interface LeaseTurn {
  readonly state: LeaseState;
  readonly askPeers: boolean;
  /** Said once for each loss of renewals, and again when a worse verdict follows. */
  readonly fence?: Fence;
}

/**
 * Decides, from beats and what other raylets say, whether this node is cut off or the head is down (mechanism 5). Pure; lives
 * in the beat thread, so that a blocked main loop changes nothing. Times are monotonic.
 */
export class NodeLease {
  #renewedAtMs: number;
  #steadySinceMs: number;
  #fenced: Fence | undefined;
  #evidence: { atMs: number; answers: readonly PeerAnswer[] } | undefined;

  /** Registering renews. */
  constructor(nowMs: number) {
    this.#renewedAtMs = nowMs;
    this.#steadySinceMs = nowMs;
  }

  /** The head answered a beat. It counts from when the beat was sent: the head's own count began no earlier. */
  renewed(sentAtMs: number): void {
    if (sentAtMs <= this.#renewedAtMs) return;
    if (sentAtMs - this.#renewedAtMs > SUSPECT_MS) this.#steadySinceMs = sentAtMs;
    this.#renewedAtMs = sentAtMs;
    this.#fenced = undefined;
    this.#evidence = undefined;
  }

  /** One round of questions came back. An empty list: there was nobody, or nobody answered. */
  peersAnswered(answers: readonly PeerAnswer[], nowMs: number): void {
    this.#evidence = { atMs: nowMs, answers };
  }

  /** What we say when a peer asks. */
  answer(nowMs: number): OwnRenewals {
    return { renewedAgoMs: Math.max(0, nowMs - this.#renewedAtMs), steadyMs: Math.max(0, nowMs - this.#steadySinceMs) };
  }

  /** Until then a turn says what the last one said, whatever happens: nothing to judge while renewals come. */
  calmUntilMs(nowMs: number): number {
    return Math.max(nowMs, this.#renewedAtMs + SUSPECT_MS);
  }

  turn(nowMs: number): LeaseTurn {
    const ageMs = nowMs - this.#renewedAtMs;
    const state = this.#judge(ageMs, nowMs);
    const askPeers = ageMs >= SUSPECT_MS && state !== "outage-over";
    const fence = this.#fence(state, ageMs);
    return fence === undefined ? { state, askPeers } : { state, askPeers, fence };
  }

  #judge(ageMs: number, nowMs: number): LeaseState {
    if (ageMs < SUSPECT_MS) return "renewed";
    if (ageMs >= HEAD_OUTAGE_MS) return "outage-over";
    const known = this.#evidence;
    if (!known || nowMs - known.atMs > EVIDENCE_MS) return "suspect";
    if (known.answers.length === 0) return "alone";
    // A steady peer was renewed all through our silence: the head lived, and only we did not reach it.
    const cutOff = known.answers.some((peer) => {
      return peer.renewedAgoMs <= PEER_FRESH_MS && (peer.steadyMs ?? Infinity) >= ageMs;
    });
    return cutOff ? "cut-off" : "head-down";
  }

  #fence(state: LeaseState, ageMs: number): Fence | undefined {
    const due =
      state === "outage-over" || (state === "cut-off" && ageMs >= FENCE_MS)
        ? "all"
        : state === "alone" && ageMs >= FENCE_MS
          ? "declared"
          : undefined;
    if (due === undefined || this.#fenced === "all" || this.#fenced === due) return undefined;
    this.#fenced = due;
    return due;
  }
}
