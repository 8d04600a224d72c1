import {
  asWhiprayError,
  type Clock,
  OutcomeUnknownError,
  TaskCancelledError,
  type Timer,
  WhiprayError,
} from "@whipray/core";
import { type CallOptions, type ItemStream, type Parts, type ReplySink, sparesChildren } from "../call.ts";
import { FLAG, type Frame, KIND } from "../frame.ts";
import { MAX_PENDING_BYTES, MAX_PENDING_CALLS } from "../limits.ts";
import { decodeError } from "../link/link.ts";
import type { Route } from "../link/route.ts";
import { CallerLedger } from "./caller-ledger.ts";
import { ItemQueue } from "./item-queue.ts";
import { checkParts, encodeCallHeader, encodePlainHeader, isInline, sendMessage } from "./message.ts";

/** Replies that may wait to be acknowledged. */
const ACK_COUNT = 256;
const ACK_BYTES = 1_048_576;
/** How long they wait at most: the callee keeps them. A few small ones may wait, so that two idle processes do not wake each other up for them. */
const ACK_DELAY_MS = 20;
const ACK_SMALL_BYTES = 16_384;
const ACK_SMALL_DELAY_MS = 5_000;
const EMPTY = new Uint8Array(0);
const TWO_32 = 4_294_967_296;

interface OutgoingCall {
  readonly method: string;
  readonly parts: Parts;
  readonly options: CallOptions;
  readonly stream: ItemQueue | undefined;
  readonly sink: ReplySink;
  /** Clock time at which it must have ended. */
  deadlineAtMs: number | undefined;
  /** Timers and listeners to undo when it ends. */
  timer: Timer | undefined;
  unlisten: (() => void) | undefined;
  orphan: (() => void) | undefined;
}

/** The calls that this process made in one session: sends them over whatever route there is, and settles each exactly once. */
export class OutgoingCalls {
  readonly #clock: Clock;
  readonly #ledger = new CallerLedger<OutgoingCall>({ maxCalls: MAX_PENDING_CALLS, maxBytes: MAX_PENDING_BYTES });
  #route: Route | undefined;
  #ackTimer: Timer | undefined;
  #ackSoon = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  call(method: string, parts: Parts, options: CallOptions): Promise<Parts> {
    return new Promise((resolve, reject) => this.#start(method, parts, options, undefined, { resolve, reject }));
  }

  submit(method: string, parts: Parts, options: CallOptions, sink: ReplySink): number {
    return this.#start(method, parts, options, undefined, sink);
  }

  stream(method: string, parts: Parts, options: CallOptions): ItemStream {
    let sequence = 0;
    const queue = new ItemQueue({
      demand: (granted, consumed) => this.#sendDemand(sequence, granted, consumed),
      cancel: () => this.cancel(sequence, new TaskCancelledError({ message: `The reader of ${method} left early` })),
    });
    const sink = { resolve: (value: Parts) => queue.finish(value), reject: (error: WhiprayError) => queue.fail(error) };
    sequence = this.#start(method, parts, options, queue, sink);
    return queue;
  }

  #start(method: string, parts: Parts, options: CallOptions, stream: ItemQueue | undefined, sink: ReplySink): number {
    const none = undefined;
    const call: OutgoingCall = {
      method,
      parts,
      options,
      stream,
      sink,
      deadlineAtMs: none,
      timer: none,
      unlisten: none,
      orphan: none,
    };
    try {
      const { signal, parent, timeoutMs } = options;
      if (signal?.aborted) throw cancelled(method, signal.reason);
      if (parent?.abortedWith) throw parent.abortedWith;
      const bytes = checkParts(parts);
      checkTimeout(method, timeoutMs);
      const sequence = this.#ledger.add(call, bytes);
      if (timeoutMs !== undefined) {
        call.deadlineAtMs = this.#clock.now() + timeoutMs;
        call.timer = this.#clock.after(timeoutMs, () => this.#expire(sequence, method, timeoutMs));
      }
      if (signal) {
        const onAbort = (): void => this.cancel(sequence, cancelled(method, signal.reason));
        signal.addEventListener("abort", onAbort, { once: true });
        call.unlisten = () => signal.removeEventListener("abort", onAbort);
      }
      if (parent) call.orphan = parent.onAbort((reason) => this.cancel(sequence, reason));
      if (this.#route) this.#send(this.#route, sequence, call);
      return sequence;
    } catch (error) {
      sink.reject(asWhiprayError(error));
      return 0;
    }
  }

  #send(route: Route, sequence: number, call: OutgoingCall, came = 0): void {
    const { options, deadlineAtMs } = call;
    this.#ledger.markSent(sequence);
    const flags = call.stream ? FLAG.STREAM : 0;
    const leftMs = deadlineAtMs === undefined ? undefined : Math.max(1, Math.ceil(deadlineAtMs - this.#clock.now()));
    if (options.traceparent === undefined && isInline(call.parts)) {
      route.send(KIND.REQUEST, flags, sequence, encodePlainHeader(call.method, options.epoch, leftMs), call.parts);
      return;
    }
    const header = (of: { p?: number[]; at?: number }): Uint8Array =>
      encodeCallHeader({
        m: call.method,
        ...(leftMs !== undefined && { d: leftMs }),
        ...(options.traceparent !== undefined && { t: options.traceparent }),
        ...(options.epoch !== undefined && { e: options.epoch }),
        ...of,
      });
    sendMessage(route, KIND.REQUEST, flags, sequence, call.parts, header, came);
  }

  // The caller learns at its deadline; the callee has its own timer, and the CANCEL is for one that started late.
  #expire(sequence: number, method: string, timeoutMs: number): void {
    const call = this.#ledger.get(sequence);
    if (!call) return;
    this.#release(call);
    call.sink.reject(
      new WhiprayError({
        code: "DEADLINE_EXCEEDED",
        message: `${method} did not end within ${timeoutMs} ms`,
        details: { method, timeoutMs },
      }),
    );
    if (!this.#ledger.withdraw(sequence)) this.#route?.send(KIND.CANCEL, 0, sequence, EMPTY, []);
  }

  // What was never sent ends here; for the rest the callee has the last word, because it may be done already.
  cancel(sequence: number, error: WhiprayError): void {
    const call = this.#ledger.get(sequence);
    if (!call) return;
    if (this.#ledger.withdraw(sequence)) {
      this.#release(call);
      call.sink.reject(error);
    } else this.#route?.send(KIND.CANCEL, sparesChildren(error) ? FLAG.SPARES_CHILDREN : 0, sequence, EMPTY, []);
  }

  /** REPLY, complete. */
  onReply(sequence: number, parts: Parts, bytes: number): void {
    const call = this.#settle(sequence, bytes);
    call?.sink.resolve(parts);
  }

  onError(frame: Frame): void {
    const call = this.#settle(frame.sequence, frame.body.length);
    call?.sink.reject(decodeError(frame.body));
  }

  /** ITEM, complete. */
  onItem(sequence: number, index: number, parts: Parts): void {
    this.#ledger.get(sequence)?.stream?.push(index, parts);
  }

  /** END, complete. A stream that is asked for one value (or the reverse) still ends. */
  onEnd(sequence: number, parts: Parts, bytes: number): void {
    this.onReply(sequence, parts, bytes);
  }

  #settle(sequence: number, bytes: number): OutgoingCall | undefined {
    const call = this.#ledger.settle(sequence, bytes);
    if (call) this.#release(call);
    const backlog = this.#ledger.ackBacklog;
    if (backlog.count >= ACK_COUNT || backlog.bytes >= ACK_BYTES) this.#acknowledge();
    else this.#acknowledgeWithin(backlog.bytes < ACK_SMALL_BYTES ? ACK_SMALL_DELAY_MS : ACK_DELAY_MS);
    return call;
  }

  #acknowledgeWithin(delayMs: number): void {
    const soon = delayMs === ACK_DELAY_MS;
    if (this.#ackTimer && (this.#ackSoon || !soon)) return;
    this.#ackTimer?.cancel();
    this.#ackSoon = soon;
    this.#ackTimer = this.#clock.after(delayMs, () => this.#acknowledge());
  }

  #acknowledge(): void {
    this.#ackTimer?.cancel();
    this.#ackTimer = undefined;
    if (!this.#route || this.#ledger.ackBacklog.count === 0) return;
    const sequences = this.#ledger.takeAcks();
    const body = new Uint8Array(4 + 8 * sequences.length);
    const view = new DataView(body.buffer);
    view.setUint32(0, sequences.length, true);
    for (let i = 0; i < sequences.length; i++) {
      view.setUint32(4 + 8 * i, sequences[i]! % TWO_32, true);
      view.setUint32(8 + 8 * i, Math.floor(sequences[i]! / TWO_32), true);
    }
    this.#route.sendFree(KIND.ACK, 0, EMPTY, body);
  }

  #sendDemand(sequence: number, granted: number, consumed: number): void {
    const body = new Uint8Array(8);
    const view = new DataView(body.buffer);
    view.setUint32(0, granted, true);
    view.setUint32(4, consumed, true);
    this.#route?.sendFree(KIND.DEMAND, sequence, EMPTY, body);
  }

  /** Streams that go on after a reconnect: [[sequence, index of the next item]…]. */
  openStreams(): [number, number][] {
    const streams: [number, number][] = [];
    for (const [sequence, call] of this.#ledger.entries()) {
      if (call.stream && this.#ledger.isSent(sequence)) streams.push([sequence, call.stream.nextIndex]);
    }
    return streams;
  }

  /** A route is open: `known` when the callee kept this session's record, with `rx` of our calls received, and bytes of others. */
  attach(route: Route, known: boolean, rx: number, came: ReadonlyMap<number, number>): void {
    this.#route = route;
    const { send, lost } = this.#ledger.resume(known, rx);
    for (const { call } of lost) {
      this.#release(call);
      call.sink.reject(
        new OutcomeUnknownError({
          message: `${call.method} was sent, then the other process restarted or lost its record: it may or may not have run, and is not sent again`,
          details: { method: call.method },
        }),
      );
    }
    for (const sequence of send) {
      const call = this.#ledger.get(sequence);
      if (call) this.#send(route, sequence, call, known ? came.get(sequence) : 0);
    }
    for (const [sequence, call] of this.#ledger.entries()) {
      if (call.stream) this.#sendDemand(sequence, call.stream.granted, call.stream.consumed);
    }
    this.#acknowledge();
  }

  detach(): void {
    this.#route = undefined;
  }

  /** The session is over. `sentError` is for calls that went out, `unsentError` for the others. */
  end(sentError: WhiprayError, unsentError: WhiprayError): void {
    this.#route = undefined;
    this.#ackTimer?.cancel();
    for (const { call, sent } of this.#ledger.end()) {
      this.#release(call);
      call.sink.reject(sent ? sentError : unsentError);
    }
  }

  #release(call: OutgoingCall): void {
    call.timer?.cancel();
    call.unlisten?.();
    call.orphan?.();
  }
}

function cancelled(method: string, reason: unknown): WhiprayError {
  return reason instanceof WhiprayError
    ? reason
    : new TaskCancelledError({ message: `${method} was cancelled by its caller`, cause: reason });
}

/** @throws WhiprayError `RANGE` for what is no time, `DEADLINE_EXCEEDED` for one that has passed (reliability B42). */
function checkTimeout(method: string, timeoutMs: number | undefined): void {
  if (timeoutMs === undefined) return;
  if (typeof timeoutMs !== "number" || !Number.isFinite(timeoutMs)) {
    throw new WhiprayError({
      code: "RANGE",
      message: `timeoutMs of ${method} must be a finite number of milliseconds; got ${timeoutMs}`,
    });
  }
  if (timeoutMs <= 0)
    throw new WhiprayError({
      code: "DEADLINE_EXCEEDED",
      message: `The deadline of ${method} has passed before it was sent (timeoutMs ${timeoutMs})`,
    });
}
