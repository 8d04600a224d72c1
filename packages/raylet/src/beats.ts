import type { LeaseTurn, OwnRenewals } from "./node-lease.ts";

/** Another raylet that can be asked whether the head still renews it. */
export interface BeatPeer {
  readonly nodeId: string;
  readonly url?: string | undefined;
}

/** What a registration says of beats. */
export interface BeatTerms {
  readonly epoch: number;
  readonly beatMs: number;
  readonly peers: readonly BeatPeer[];
}

/** What the beats tell the raylet. */
export interface BeatListener {
  /** The verdict changed, or something must end. */
  onTurn(turn: LeaseTurn): void;
  /** A beat was answered: there is something new to tell peers that ask. */
  onRenewed?(): void;
  /** The head answers, but does not know our epoch: register again. */
  onRefused(): void;
}

/** Beats to the head, and the judgement of what their absence means. In daemons a thread of its own. */
export interface Beats {
  /** Called once. */
  listen(listener: BeatListener): void;
  /** After each registration. */
  registered(terms: BeatTerms): void;
  /** What we tell a peer that asks. */
  answer(): OwnRenewals;
  close(): Promise<void>;
}
