import { TERMINAL_CHUNK_LIMIT_BYTES } from "@whipray/rpc";

/** Output that waits for one viewer; what is more is dropped and counted: a slow viewer never slows the process (B31). */
export const VIEWER_BACKLOG_LIMIT_BYTES = 1_048_576;
const NEWLINE = 10;

/** What a viewer gets next. */
export type Shown = { readonly data: Uint8Array } | { readonly dropped: number };

/**
 * What one viewer has not taken yet. When it is full, all that waits is dropped at once, up to a line's end: the newest output
 * is the one that matters, and one gap is better than many. Pure.
 */
export class ViewerBacklog {
  readonly #limitBytes: number;
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  /** Bytes that are missing before the first chunk. */
  #dropped = 0;

  constructor(limitBytes = VIEWER_BACKLOG_LIMIT_BYTES) {
    this.#limitBytes = limitBytes;
  }

  get empty(): boolean {
    return this.#chunks.length === 0 && this.#dropped === 0;
  }

  push(chunk: Uint8Array): void {
    let kept = chunk;
    if (this.#bytes + chunk.length > this.#limitBytes) {
      if (kept.length > this.#limitBytes) kept = kept.subarray(kept.length - this.#limitBytes);
      // A character or an escape sequence may have been cut; after a newline the screen is whole again.
      kept = kept.subarray(kept.indexOf(NEWLINE) + 1);
      this.#dropped += this.#bytes + chunk.length - kept.length;
      this.#chunks = [];
      this.#bytes = 0;
    }
    if (kept.length === 0) return;
    this.#chunks.push(kept);
    this.#bytes += kept.length;
  }

  /** The next piece, at most `TERMINAL_CHUNK_LIMIT_BYTES`. */
  take(): Shown | undefined {
    if (this.#dropped > 0) {
      const dropped = this.#dropped;
      this.#dropped = 0;
      return { dropped };
    }
    if (this.#chunks.length === 0) return undefined;
    const taken: Uint8Array[] = [];
    let room = TERMINAL_CHUNK_LIMIT_BYTES;
    while (room > 0 && this.#chunks.length > 0) {
      const first = this.#chunks[0]!;
      taken.push(first.subarray(0, room));
      if (first.length > room) this.#chunks[0] = first.subarray(room);
      else this.#chunks.shift();
      room -= Math.min(room, first.length);
    }
    const data = taken.length === 1 ? taken[0]! : Buffer.concat(taken);
    this.#bytes -= data.length;
    return { data };
  }
}
