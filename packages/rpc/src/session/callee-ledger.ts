import { SequenceTable } from "./sequence-table.ts";

/**
 * The callee's half of a session, without any I/O: the highest sequence that arrived, the calls that run, and the
 * replies that are kept until they are acknowledged, within a bound. `Reply` is whatever can be sent again.
 */
export class CalleeLedger<Call, Reply> {
  readonly #limits: CalleeLimits;
  readonly #lostReply: (sequence: number) => Reply;
  readonly #running = new SequenceTable<Call>();
  readonly #kept = new SequenceTable<{ reply: Reply; bytes: number; lost: boolean }>();
  /** Kept replies that are still whole. */
  #whole = 0;
  #keptBytes = 0;
  #rx = 0;
  #duplicates = 0;

  /** `lostReply` makes the small answer that takes the place of a reply which no longer fits (`OUTCOME_UNKNOWN`). */
  constructor(limits: CalleeLimits, lostReply: (sequence: number) => Reply) {
    this.#limits = limits;
    this.#lostReply = lostReply;
  }

  /** Highest sequence that arrived complete; the peer sends again what is above it after a reconnect. */
  get rx(): number {
    return this.#rx;
  }

  /** Requests that came a second time and were dropped (reliability B14). */
  get duplicates(): number {
    return this.#duplicates;
  }

  get runningCount(): number {
    return this.#running.size;
  }

  /** Kept replies and their bytes. */
  get backlog(): { count: number; bytes: number } {
    return { count: this.#kept.size, bytes: this.#keptBytes };
  }

  /** A request arrived complete. False: it was here before and must not run again. */
  receive(sequence: number, call: Call): boolean {
    if (sequence <= this.#rx) {
      this.#duplicates++;
      return false;
    }
    this.#rx = sequence;
    this.#running.set(sequence, call);
    return true;
  }

  running(sequence: number): Call | undefined {
    return this.#running.get(sequence);
  }

  runningCalls(): Iterable<Call> {
    return this.#running.values();
  }

  /** The call is over; its reply is kept until it is acknowledged. False when it was not running. */
  finish(sequence: number, reply: Reply, bytes: number): boolean {
    if (!this.#running.delete(sequence)) return false;
    this.#kept.set(sequence, { reply, bytes, lost: false });
    this.#keptBytes += bytes;
    this.#whole++;
    this.#trim();
    return true;
  }

  /** The caller has this reply. */
  acknowledge(sequence: number): void {
    const kept = this.#kept.get(sequence);
    if (!kept) return;
    this.#kept.delete(sequence);
    this.#keptBytes -= kept.bytes;
    if (!kept.lost) this.#whole--;
  }

  /** Replies to send again after a reconnect. */
  repliesToResend(): Reply[] {
    return [...this.#kept.values()].map(({ reply }) => reply);
  }

  /** The session is over: what was running. */
  end(): Call[] {
    const running = [...this.#running.values()];
    this.#running.clear();
    this.#kept.clear();
    this.#keptBytes = 0;
    this.#whole = 0;
    return running;
  }

  // Oldest first, replies give way to a small "unknown" answer. Those stay until acknowledged: a caller that waits must get
  // some answer, and it cannot have more calls under way than its own limit (MAX_PENDING_CALLS).
  #trim(): void {
    const { maxKeptReplies, maxKeptBytes } = this.#limits;
    if (this.#whole <= maxKeptReplies && this.#keptBytes <= maxKeptBytes) return;
    for (const [sequence, kept] of this.#kept.entries()) {
      if (this.#whole <= maxKeptReplies && this.#keptBytes <= maxKeptBytes) break;
      if (kept.lost) continue;
      this.#keptBytes -= kept.bytes;
      this.#whole--;
      this.#kept.set(sequence, { reply: this.#lostReply(sequence), bytes: 0, lost: true });
    }
  }
}

export interface CalleeLimits {
  maxKeptReplies: number;
  maxKeptBytes: number;
}
