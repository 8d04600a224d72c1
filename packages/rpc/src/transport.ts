import type { WhiprayError } from "@whipray/core";

/** What a channel tells its user. Handlers must not throw: a throw destroys the channel with that error. */
export interface ChannelHandlers {
  /** One whole frame, prefix included. The bytes stay valid and are not written again. */
  onFrame(raw: Uint8Array): void;
  /** `bufferedBytes` fell below the low-water mark after it had been above the high one. */
  onDrain(): void;
  /** Exactly once, whoever closed; with an error unless the end was orderly. Nothing is delivered afterwards. */
  onClose(error?: WhiprayError): void;
}

/** Bytes in flight above which a sender should wait for `onDrain`. */
export const CHANNEL_HIGH_WATER_BYTES = 1_048_576;
export const CHANNEL_LOW_WATER_BYTES = 262_144;

/**
 * A connection that carries whole frames in order, at most once, until it closes. Implemented over unix sockets,
 * WebSocket and memory; all pass `test/transport-contract.test.ts`.
 */
export interface Channel {
  /** What the other end looks like, for logs and rate limits: an IP address, `unix`, `memory`. */
  readonly remote: string;
  /** Queued and not yet taken by the operating system. */
  readonly bufferedBytes: number;
  /**
   * Queues one whole frame, given in pieces that are written one after another. Everything queued in one turn of the
   * event loop leaves in one write. The caller does not touch the pieces afterwards. After the close it does nothing.
   */
  send(pieces: readonly Uint8Array[]): void;
  /** Starts delivery; called once. What arrived before is delivered then. */
  start(handlers: ChannelHandlers): void;
  /** Sends what is queued, then closes. `onClose` follows (with `error` if one is given). */
  close(error?: WhiprayError): void;
  /** Closes now; queued bytes are lost. */
  destroy(error?: WhiprayError): void;
}

/** A place that channels arrive at. */
export interface Listener {
  /** Where it really listens: `unix:/path`, `ws://127.0.0.1:8265`, `memory:name`. */
  readonly url: string;
  close(): Promise<void>;
}

export interface DialOptions {
  /** Role token; the WebSocket upgrade carries it as a bearer token. */
  token?: string;
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** Makes channels by URL. */
export interface Transport {
  /** @throws WhiprayError `UNREACHABLE` (retryable), `UNAUTHENTICATED`, `INVALID_ADDRESS`, `TIMEOUT`. */
  dial(url: string, options?: DialOptions): Promise<Channel>;
}
