import type { OutputStream } from "./logs.ts";

/** An unfinished line is written as it is when it has this many bytes. */
export const LINE_HELD_LIMIT_BYTES = 65_536;
const NEWLINE = 10;

/**
 * Lets two streams share one file without cutting each other's lines: gives on whole lines, and holds the rest of each
 * stream back until its newline comes, it grows too long, or `flush` is called. Pure.
 */
export class LineMerger {
  readonly #held: Record<OutputStream, Uint8Array[]> = { out: [], err: [] };
  readonly #heldBytes: Record<OutputStream, number> = { out: 0, err: 0 };

  get holding(): boolean {
    return this.#heldBytes.out + this.#heldBytes.err > 0;
  }

  /** What may be written now, in order. */
  push(stream: OutputStream, chunk: Uint8Array): Uint8Array[] {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    const ready: Uint8Array[] = [];
    if (end > 0) {
      ready.push(...this.#take(stream), chunk.subarray(0, end));
      if (end < chunk.length) this.#hold(stream, chunk.subarray(end));
    } else if (chunk.length > 0) {
      this.#hold(stream, chunk);
    }
    if (this.#heldBytes[stream] >= LINE_HELD_LIMIT_BYTES) ready.push(...this.#take(stream));
    return ready;
  }

  /** Everything that is held: a prompt or a progress bar has no newline for a long time. */
  flush(): Uint8Array[] {
    return [...this.#take("out"), ...this.#take("err")];
  }

  #hold(stream: OutputStream, rest: Uint8Array): void {
    this.#held[stream].push(rest);
    this.#heldBytes[stream] += rest.length;
  }

  #take(stream: OutputStream): Uint8Array[] {
    const held = this.#held[stream];
    this.#held[stream] = [];
    this.#heldBytes[stream] = 0;
    return held;
  }
}
