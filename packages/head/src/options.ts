import type { ProbeAnswer } from "./node-effect.ts";

/** A process that somebody announced: how it is reached, and its pid with the machine and pid namespace that the pid belongs to. */
export interface ProbedProcess {
  url?: string | undefined;
  pid: number;
  hostname: string;
  pidNamespace?: string | undefined;
}

/** Looks whether a raylet's or driver's process is still there. The answer `gone` must be certain. */
export interface NodeProber {
  probe(process: ProbedProcess): Promise<ProbeAnswer>;
}

export interface HeadOptions {
  /** Id of the cluster; default: the journal's, else a new one. */
  clusterId?: string;
  /** SHA-256 (hex) of the tokens that raylets accept from their peers, by role; handed on in `node.register`. */
  peerTokens?: Readonly<Record<string, string>>;
  /** A placement group that waited longer holds what frees up for itself. Default 5 000. */
  starvationMs?: number;
  /** After a restart of the head a driver has this long to come back. Default 30 000. */
  driverGraceMs?: number;
  /** After a restart of the head raylets have this long to come back; until then their work stays theirs. Default 600 000. */
  headOutageMs?: number;
  /** Finds crashed raylets before their lease ends. Without one a dead node is known after 10 s. */
  prober?: NodeProber;
}

export const STARVATION_MS = 5_000;
export const DRIVER_GRACE_MS = 30_000;
export const HEAD_OUTAGE_MS = 600_000;
