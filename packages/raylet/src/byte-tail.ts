/** The last bytes of a stream, in a ring. Costs nothing per line: it is only split when somebody asks. */
export class ByteTail {
  #ring: Uint8Array | undefined;
  /** Bytes that were ever pushed. */
  #total = 0;
  readonly limitBytes: number;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  /** Bytes that are kept. */
  get bytes(): number {
    return Math.min(this.#total, this.limitBytes);
  }

  push(chunk: Uint8Array): void {
    if (this.limitBytes === 0) return;
    this.#ring ??= new Uint8Array(this.limitBytes);
    const kept = chunk.length > this.limitBytes ? chunk.subarray(chunk.length - this.limitBytes) : chunk;
    this.#total += chunk.length - kept.length;
    const at = this.#total % this.limitBytes;
    const first = Math.min(kept.length, this.limitBytes - at);
    this.#ring.set(kept.subarray(0, first), at);
    this.#ring.set(kept.subarray(first), 0);
    this.#total += kept.length;
  }

  text(): string {
    return this.kept().toString("utf8");
  }

  /** A copy of what is kept. */
  kept(): Buffer {
    if (!this.#ring) return Buffer.alloc(0);
    const at = this.#total % this.limitBytes;
    const whole = this.#total >= this.limitBytes;
    const pieces = whole ? [this.#ring.subarray(at), this.#ring.subarray(0, at)] : [this.#ring.subarray(0, at)];
    return Buffer.concat(pieces);
  }
}
