import { WhiprayError } from "@whipray/core";
import { readU32, tooLong, view } from "./frame.ts";
import { MAX_FRAME_BYTES, PREFIX_BYTES } from "./limits.ts";

/** Bytes of the prefix that hold the length: with them a frame can be refused before anything is allocated for it. */
const LENGTH_BYTES = 4;
const OTHER_PROTOCOLS = [
  "GET ",
  "HEAD",
  "POST",
  "PUT ",
  "DELE",
  "PATC",
  "OPTI",
  "CONN",
  "TRAC",
  "PRI ",
  "HTTP",
  "SSH-",
];

/**
 * Cuts a byte stream into whole raw frames. A frame that lies within one chunk is a view of it; one over several chunks is
 * assembled once. After an error, or `stop`, it gives nothing more.
 */
export class FrameSplitter {
  readonly #onFrame: (raw: Uint8Array) => void;
  readonly #head = new Uint8Array(LENGTH_BYTES);
  #headFilled = 0;
  #frame: Uint8Array | undefined;
  #filled = 0;
  #first = true;
  #stopped = false;

  constructor(onFrame: (raw: Uint8Array) => void) {
    this.#onFrame = onFrame;
  }

  /** Whether the stream stands inside a frame: its end would be a cut. */
  get insideFrame(): boolean {
    return this.#headFilled > 0 || this.#frame !== undefined;
  }

  /** Ends delivery, also from inside `onFrame`. */
  stop(): void {
    this.#stopped = true;
    this.#frame = undefined;
    this.#headFilled = 0;
  }

  /**
   * Takes the next bytes and gives every frame that they complete. Keeps views of `chunk`: it must not be written again.
   *
   * @throws WhiprayError `FRAME_SIZE` for a length above MAX_FRAME_BYTES, before anything is allocated for it (B1);
   *   `WRONG_PROTOCOL` when the stream starts like HTTP, TLS or SSH (B3). What `onFrame` throws passes through.
   */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length && !this.#stopped) {
      if (this.#frame === undefined && this.#headFilled === 0 && chunk.length - at >= LENGTH_BYTES) {
        const size = this.#sizeAt(chunk, at);
        if (chunk.length - at >= size) {
          this.#deliver(view(chunk, at, at + size));
          at += size;
          continue;
        }
      }
      at = this.#collect(chunk, at);
    }
  }

  /** Copies bytes of a frame that is not whole yet; gives the place in the chunk where to go on. */
  #collect(chunk: Uint8Array, start: number): number {
    let at = start;
    if (this.#frame === undefined) {
      while (at < chunk.length && this.#headFilled < LENGTH_BYTES) this.#head[this.#headFilled++] = chunk[at++]!;
      if (this.#headFilled < LENGTH_BYTES) return at;
      const size = this.#sizeAt(this.#head, 0);
      // Every byte is written before the frame is given on, so it need not be zeroed.
      this.#frame = new Uint8Array(Buffer.allocUnsafeSlow(size).buffer);
      this.#frame.set(this.#head);
      this.#filled = LENGTH_BYTES;
    }
    const taken = Math.min(chunk.length - at, this.#frame.length - this.#filled);
    this.#frame.set(taken === chunk.length ? chunk : chunk.subarray(at, at + taken), this.#filled);
    this.#filled += taken;
    if (this.#filled === this.#frame.length) {
      const frame = this.#frame;
      this.#frame = undefined;
      this.#headFilled = 0;
      this.#deliver(frame);
    }
    return at + taken;
  }

  #sizeAt(bytes: Uint8Array, at: number): number {
    const length = readU32(bytes, at);
    if (this.#first) {
      const other = otherProtocol(bytes, at, length);
      if (other !== undefined) {
        this.stop();
        throw new WhiprayError({
          code: "WRONG_PROTOCOL",
          message: `The other side speaks ${other}, not the Whipray protocol`,
          details: { found: other },
        });
      }
    }
    if (length > MAX_FRAME_BYTES) {
      this.stop();
      throw tooLong("frame", length, MAX_FRAME_BYTES);
    }
    return PREFIX_BYTES + length;
  }

  #deliver(raw: Uint8Array): void {
    this.#first = false;
    this.#onFrame(raw);
  }
}

function otherProtocol(bytes: Uint8Array, at: number, length: number): string | undefined {
  const start = String.fromCharCode(bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!);
  if (OTHER_PROTOCOLS.includes(start)) return start.startsWith("SSH") ? "SSH" : "HTTP";
  // A TLS record is 14–17 (alert, hello …), 03, minor version 1–4. Its little-endian reading is at least 66 324: above every
  // legal HELLO, WELCOME or OPEN, which have no body and a header of at most 65 535 bytes.
  const tls =
    bytes[at]! >= 0x14 && bytes[at]! <= 0x17 && bytes[at + 1] === 3 && bytes[at + 2]! >= 1 && bytes[at + 2]! <= 4;
  return tls && length > 0xffff ? "TLS" : undefined;
}
