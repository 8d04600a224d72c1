import { WhiprayError } from "@whipray/core";
import { SequenceTable } from "./sequence-table.ts";

/**
 * The caller's half of a session, without any I/O: which calls are pending, which of them went out, which replies must
 * be acknowledged, and what happens to each pending call after a reconnect. Each call goes out at most once per record
 * of the callee (PROTOCOL.md, "Sessions"; reliability P9).
 */
export class CallerLedger<Call> {
  readonly #pending = new SequenceTable<{ call: Call; bytes: number; sent: boolean }>();
  readonly #limits: CallerLimits;
  #next = 1;
  #pendingBytes = 0;
  #acks: number[] = [];
  #ackBytes = 0;

  constructor(limits: CallerLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#pending.size;
  }

  /**
   * Takes a call in and gives it its sequence.
   * @throws WhiprayError `BUSY` when the session's calls or bytes are at their limit; nothing was taken.
   */
  add(call: Call, bytes: number): number {
    const { maxCalls, maxBytes } = this.#limits;
    // One large call alone may pass the byte limit; it must not be refused for ever.
    if (this.#pending.size >= maxCalls || (this.#pendingBytes + bytes > maxBytes && this.#pending.size > 0)) {
      throw new WhiprayError({
        code: "BUSY",
        message: `too much under way to this process: ${this.#pending.size} calls of ${maxCalls}, ${this.#pendingBytes} bytes of ${maxBytes}; wait for replies`,
        retryable: true,
        details: { calls: this.#pending.size, bytes: this.#pendingBytes, ...this.#limits },
      });
    }
    const sequence = this.#next++;
    this.#pending.set(sequence, { call, bytes, sent: false });
    this.#pendingBytes += bytes;
    return sequence;
  }

  get(sequence: number): Call | undefined {
    return this.#pending.get(sequence)?.call;
  }

  *entries(): Generator<[number, Call]> {
    for (const [sequence, { call }] of this.#pending.entries()) yield [sequence, call];
  }

  isSent(sequence: number): boolean {
    return this.#pending.get(sequence)?.sent ?? false;
  }

  markSent(sequence: number): void {
    const entry = this.#pending.get(sequence);
    if (entry) entry.sent = true;
  }

  /** A reply of `replyBytes` came: the call is over, and its sequence waits to be acknowledged. Undefined when it is not ours (any more). */
  settle(sequence: number, replyBytes: number): Call | undefined {
    const entry = this.#drop(sequence);
    // Also a reply that nobody waits for is acknowledged, or the callee would keep it until the session ends.
    this.#acks.push(sequence);
    this.#ackBytes += replyBytes;
    return entry?.call;
  }

  /** Gives up on a call that was never sent; false when it was. */
  withdraw(sequence: number): boolean {
    const entry = this.#pending.get(sequence);
    if (!entry || entry.sent) return false;
    this.#drop(sequence);
    return true;
  }

  /** Sequences and reply bytes that wait to be acknowledged. */
  get ackBacklog(): { count: number; bytes: number } {
    return { count: this.#acks.length, bytes: this.#ackBytes };
  }

  takeAcks(): number[] {
    const acks = this.#acks;
    this.#acks = [];
    this.#ackBytes = 0;
    return acks;
  }

  /**
   * A route is open again. `known` tells whether the callee still has the session's record, and `rx` the highest of our
   * sequences it received. Returns what to send, in order, and the calls whose outcome nobody knows.
   */
  resume(known: boolean, rx: number): { send: number[]; lost: { sequence: number; call: Call }[] } {
    const send: number[] = [];
    const lost: { sequence: number; call: Call }[] = [];
    for (const [sequence, entry] of this.#pending.entries()) {
      if (entry.sent && !known) lost.push({ sequence, call: entry.call });
      else if (!entry.sent || sequence > rx) send.push(sequence);
    }
    for (const { sequence } of lost) this.#drop(sequence);
    if (!known) this.takeAcks();
    return { send, lost };
  }

  /** The session is over: every pending call, and whether it had gone out. */
  end(): { call: Call; sent: boolean }[] {
    const all = [...this.#pending.values()].map(({ call, sent }) => ({ call, sent }));
    this.#pending.clear();
    this.#pendingBytes = 0;
    return all;
  }

  #drop(sequence: number): { call: Call } | undefined {
    const entry = this.#pending.get(sequence);
    if (!entry) return undefined;
    this.#pending.delete(sequence);
    this.#pendingBytes -= entry.bytes;
    return entry;
  }
}

export interface CallerLimits {
  maxCalls: number;
  maxBytes: number;
}
