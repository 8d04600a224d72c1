/** Bytes that a port gives on a connection of their own (PROTOCOL.md, "Byte streams"). */
export interface ByteStream {
  /** All of them. They are read until `done`, and must not change before. */
  readonly memory: Uint8Array;
  /** Once, however it ends. */
  done(): void;
}

/** Finds what a path names; throws the coded reason why it cannot be had. */
export type ByteStreams = (path: string) => ByteStream | Promise<ByteStream>;

/** Asks a port for the bytes that a path names. The twin in tests is a function. */
export interface ByteFetcher {
  /**
   * `take` gets them in order; they are its own during the call alone. Settles when all have come.
   * @throws WhiprayError what the other side refuses with, `UNREACHABLE`; `LINK_BROKEN` (retryable) when it ends or stalls before; `CANCELLED`.
   */
  fetch(url: string, path: string, take: (bytes: Uint8Array) => void, signal?: AbortSignal): Promise<void>;
}

/** Name of the protocol in the upgrade request. */
export const BYTES_PROTOCOL = "whipray-bytes";
/** Header of the answer: how many bytes follow it. */
export const BYTES_HEADER = "whipray-bytes";
/** A stream that carries nothing for this long is broken. */
export const BYTE_STREAM_IDLE_MS = 10_000;
/** Bytes that are read or written in one step. */
export const BYTE_STEP_BYTES = 262_144;
/** Streams that one port sends at once; more are refused with `BUSY`. */
export const BYTE_STREAMS_LIMIT = 64;
