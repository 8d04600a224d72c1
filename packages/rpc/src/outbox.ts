/** Frames that wait for the end of this turn of the event loop, to leave in one write. */
export interface Outbox {
  readonly bytes: number;
  add(pieces: readonly Uint8Array[]): void;
  clear(): void;
}

/** What waits for a pipe of messages: it keeps where frames end. */
export class MessageOutbox implements Outbox {
  #frames: (readonly Uint8Array[])[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  add(pieces: readonly Uint8Array[]): void {
    this.#frames.push(pieces);
    for (const piece of pieces) this.#bytes += piece.length;
  }

  clear(): void {
    this.#frames = [];
    this.#bytes = 0;
  }

  /** Takes everything as buffers that each hold whole frames, and more than one only up to `limitBytes`. */
  takeMessages(limitBytes: number): Uint8Array[] {
    const messages: Uint8Array[] = [];
    let run: Uint8Array[] = [];
    let runBytes = 0;
    for (const pieces of this.#frames) {
      let frameBytes = 0;
      for (const piece of pieces) frameBytes += piece.length;
      if (run.length > 0 && runBytes + frameBytes > limitBytes) {
        messages.push(join(run, runBytes));
        run = [];
        runBytes = 0;
      }
      for (const piece of pieces) run.push(piece);
      runBytes += frameBytes;
    }
    if (run.length > 0) messages.push(join(run, runBytes));
    this.clear();
    return messages;
  }
}

/** The pieces as one; a single piece as it is. */
export function join(pieces: readonly Uint8Array[], bytes: number): Uint8Array {
  if (pieces.length === 1) return pieces[0]!;
  const joined = new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}
