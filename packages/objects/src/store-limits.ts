/** What one node's store may use. */
export interface StoreLimits {
  /** Segments in use and kept warm, together. */
  readonly capacityBytes: number;
  /** Spill files. 0 = nothing is spilled. */
  readonly diskBytes: number;
  /** Segments at once: each holds a descriptor. */
  readonly segments: number;
  /** Objects at once, spilled ones too. */
  readonly objects: number;
  /** How long a request waits for pins to go before it is refused. */
  readonly patienceMs: number;
  /** How long a segment is kept warm without use. */
  readonly warmMs: number;
}

export const DEFAULT_LIMITS: Omit<StoreLimits, "capacityBytes" | "diskBytes"> = {
  segments: 8_192,
  objects: 1_000_000,
  patienceMs: 2_000,
  warmMs: 30_000,
};

/** Spill files that are written at once (Ray: 4 I/O workers). */
export const SPILLS_AT_ONCE = 4;
/** After a full disk nothing is spilled for this long. */
export const DISK_FULL_PAUSE_MS = 5_000;
