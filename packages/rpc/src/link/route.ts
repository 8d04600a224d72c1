import type { Parts } from "../call.ts";
import { encodePrefix, frameKind, KIND } from "../frame.ts";
import { CHUNK_BYTES, PREFIX_BYTES, ROUTE_WINDOW_BYTES } from "../limits.ts";
import type { Link } from "./link.ts";
import type { Pieces } from "./link-writer.ts";

/** Kinds that use credit (PROTOCOL.md, "Routes"). */
function usesCredit(kind: number): boolean {
  return kind >= KIND.REQUEST && kind <= KIND.CHUNK && kind !== KIND.CANCEL;
}

/** Received bytes after which credit is granted again. */
const GRANT_STEP_BYTES = ROUTE_WINDOW_BYTES / 4;

/**
 * This process' end of one route on one link: sends within the credit of the other end and grants credit for what came in.
 * A frame goes out while any credit is left, so that one of any size can; the next ones wait for more.
 */
export class Route {
  readonly link: Link;
  readonly id: number;
  #credit = ROUTE_WINDOW_BYTES;
  #taken = 0;
  #waiting: { pieces: Pieces; bytes: number }[] = [];
  #waitingFrom = 0;
  #onRoom: (() => void)[] = [];

  constructor(link: Link, id: number) {
    this.link = link;
    this.id = id;
  }

  /** One frame of a kind that may use credit, in the order of the calls. */
  send(kind: number, flags: number, sequence: number, header: Uint8Array, body: Parts): void {
    let bodyLength = 0;
    for (let i = 0; i < body.length; i++) bodyLength += body[i]!.length;
    const prefix = encodePrefix(this.id, kind, flags, header.length, sequence, bodyLength);
    const pieces = body.length === 1 ? [prefix, header, body[0]!] : [prefix, header, ...body];
    const bytes = usesCredit(kind) ? PREFIX_BYTES + header.length + bodyLength : 0;
    if (this.#waitingFrom === this.#waiting.length && this.#credit > 0) this.#write(pieces, bytes);
    else this.#waiting.push({ pieces, bytes });
  }

  /** A small frame that neither uses credit nor waits behind those that do: CREDIT, DEMAND, ACK, OPENED. */
  sendFree(kind: number, sequence: number, header: Uint8Array, body: Uint8Array): void {
    this.link.write(this.id, [encodePrefix(this.id, kind, 0, header.length, sequence, body.length), header, body]);
  }

  /** The other end granted more. */
  credit(bytes: number): void {
    // A peer cannot make us believe in more than the whole window.
    this.#credit = Math.min(ROUTE_WINDOW_BYTES, this.#credit + bytes);
    while (this.#waitingFrom < this.#waiting.length && this.#credit > 0) {
      const next = this.#waiting[this.#waitingFrom]!;
      this.#waiting[this.#waitingFrom++] = { pieces: [], bytes: 0 };
      this.#write(next.pieces, next.bytes);
    }
    if (this.#waitingFrom === this.#waiting.length) {
      this.#waiting = [];
      this.#waitingFrom = 0;
      const waiters = this.#onRoom;
      this.#onRoom = [];
      for (const waiter of waiters) waiter();
    }
  }

  /** A frame came in and was handed on: grants credit again in steps. */
  took(raw: Uint8Array): void {
    if (!usesCredit(frameKind(raw))) return;
    this.#taken += raw.length;
    if (this.#taken < GRANT_STEP_BYTES) return;
    const body = new Uint8Array(4);
    new DataView(body.buffer).setUint32(0, this.#taken, true);
    this.#taken = 0;
    this.sendFree(KIND.CREDIT, 0, new Uint8Array(0), body);
  }

  /** Whether frames wait for credit. */
  get stalled(): boolean {
    return this.#waitingFrom < this.#waiting.length;
  }

  /** Calls back when nothing waits for credit (any more). */
  whenRoom(callback: () => void): void {
    if (this.stalled) this.#onRoom.push(callback);
    else callback();
  }

  #write(pieces: Pieces, bytes: number): void {
    this.#credit -= bytes;
    this.link.write(this.id, pieces);
  }
}

/** Cuts the concatenation of `parts`, from a byte on, into CHUNK bodies of at most `CHUNK_BYTES`, without copying. */
export function* chunksOf(parts: readonly Uint8Array[], from = 0): Generator<Uint8Array> {
  let skip = from;
  for (const part of parts) {
    for (let at = Math.min(skip, part.length); at < part.length; at += CHUNK_BYTES)
      yield part.subarray(at, Math.min(part.length, at + CHUNK_BYTES));
    skip = Math.max(0, skip - part.length);
  }
}
