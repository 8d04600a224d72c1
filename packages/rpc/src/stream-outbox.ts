import type { Outbox } from "./outbox.ts";

/** Pieces up to this size are copied; larger ones are handed on as they are. */
const SMALL_PIECE_BYTES = 4_096;
/** Below this a loop is quicker than `set`. */
const LOOP_BYTES = 32;
const SLAB_BYTES = 65_536;

// One slab for all outboxes of the process, so that an idle connection costs none. The one that wrote last goes on in place.
let slab = new Uint8Array(0);
let used = 0;
let owner: StreamOutbox | undefined;

/**
 * What waits for a byte stream. Small pieces are copied at once into the memory that is written: what makes thousands of frames in a turn
 * keeps none of their pieces, which the garbage collector would have to carry along. No byte of a slab is handed out twice.
 */
export class StreamOutbox implements Outbox {
  #buffers: Uint8Array[] = [];
  /** Where our bytes in the slab begin, while we are its owner. */
  #from = 0;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  add(pieces: readonly Uint8Array[]): void {
    for (let i = 0; i < pieces.length; i++) {
      const piece = pieces[i]!;
      this.#bytes += piece.length;
      if (piece.length <= SMALL_PIECE_BYTES) this.#copy(piece);
      else {
        this.#endRun();
        this.#buffers.push(piece);
      }
    }
  }

  clear(): void {
    this.#endRun();
    this.#buffers = [];
    this.#bytes = 0;
  }

  /** Takes everything as few buffers for one gathering write. */
  take(): Uint8Array[] {
    this.#endRun();
    const buffers = this.#buffers;
    this.#buffers = [];
    this.#bytes = 0;
    return buffers;
  }

  #copy(piece: Uint8Array): void {
    const { length } = piece;
    if (owner !== this) {
      if (owner) owner.#endRun();
      owner = this;
      this.#from = used;
    }
    if (slab.length - used < length) {
      this.#endRun();
      slab = new Uint8Array(Buffer.allocUnsafeSlow(SLAB_BYTES).buffer);
      used = 0;
      this.#from = 0;
    }
    if (length > LOOP_BYTES) slab.set(piece, used);
    else for (let i = 0; i < length; i++) slab[used + i] = piece[i]!;
    used += length;
  }

  #endRun(): void {
    if (owner !== this || used === this.#from) return;
    this.#buffers.push(slab.subarray(this.#from, used));
    this.#from = used;
  }
}
