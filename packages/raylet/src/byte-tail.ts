/** The last bytes of a stream, in the chunks that came. Costs nothing per line: it is only split when somebody asks. */
export class ByteTail {
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  readonly limitBytes: number;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  push(chunk: Uint8Array): void {
    const kept = chunk.length > this.limitBytes ? chunk.subarray(chunk.length - this.limitBytes) : chunk;
    // Copied: a small slice must not keep the pipe's whole buffer alive.
    this.#chunks.push(Uint8Array.prototype.slice.call(kept));
    this.#bytes += kept.length;
    while (this.#bytes - this.#chunks[0]!.length >= this.limitBytes) this.#bytes -= this.#chunks.shift()!.length;
    if (this.#chunks.length > 1_024) this.#chunks = [Buffer.concat(this.#chunks)];
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString("utf8");
  }
}
