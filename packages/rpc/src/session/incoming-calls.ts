import { type Clock, OutcomeUnknownError, TaskCancelledError, WhiprayError } from "@whipray/core";
import type { Parts, Peer } from "../call.ts";
import { encodeControl } from "../codec.ts";
import { FLAG, type Frame, KIND } from "../frame.ts";
import { SESSION_KEPT_BYTES, SESSION_KEPT_REPLIES } from "../limits.ts";
import { encodeError } from "../link/link.ts";
import type { Route } from "../link/route.ts";
import { CalleeLedger } from "./callee-ledger.ts";
import { type Answer, type CallSink, SessionCall } from "./incoming-call.ts";
import { bytesOf, type CallHeader, isInline, sendMessage } from "./message.ts";

const EMPTY = new Uint8Array(0);
const TWO_32 = 4_294_967_296;

/** The calls that the other process made in one session: dispatches each once, keeps answers until they are acknowledged. */
export class IncomingCalls implements CallSink {
  readonly #clock: Clock;
  readonly #peer: Peer;
  readonly #dispatch: (call: SessionCall) => void;
  #ledger = newLedger();
  #route: Route | undefined;
  /** Streams that ended with items the caller has not acknowledged. */
  readonly #tails = new Map<number, SessionCall>();
  // Requests in the order in which they arrived; one that is still in chunks holds back those behind it.
  #arrivals: { call?: SessionCall }[] = [];

  constructor(clock: Clock, peer: Peer, dispatch: (call: SessionCall) => void) {
    this.#clock = clock;
    this.#peer = peer;
    this.#dispatch = dispatch;
  }

  get rx(): number {
    return this.#ledger.rx;
  }

  get running(): number {
    return this.#ledger.runningCount;
  }

  /** A REQUEST frame came with all of its parts. */
  request(frame: Frame, header: CallHeader, parts: Parts): void {
    if (this.#arrivals.length > 0) this.arrive(frame, header)(parts);
    else this.#start(this.#call(frame, header, parts), header.d);
  }

  /** A REQUEST frame came whose parts follow in chunks. The returned function takes them after the last one. */
  arrive(frame: Frame, header: CallHeader): (parts: Parts) => void {
    const arrival: { call?: SessionCall } = {};
    this.#arrivals.push(arrival);
    return (parts) => {
      arrival.call = this.#call(frame, header, parts);
      while (this.#arrivals[0]?.call) this.#start(this.#arrivals.shift()!.call!, header.d);
    };
  }

  #call(frame: Frame, header: CallHeader, parts: Parts): SessionCall {
    return new SessionCall(this, this.#peer, frame.sequence, header, (frame.flags & FLAG.STREAM) !== 0, parts);
  }

  oneway(header: CallHeader, parts: Parts): void {
    this.#dispatch(new SessionCall(this, this.#peer, 0, header, false, parts));
  }

  #start(call: SessionCall, deadlineMs: number | undefined): void {
    if (!this.#ledger.receive(call.sequence, call)) return;
    if (deadlineMs !== undefined) {
      call.deadline = this.#clock.after(deadlineMs, () => {
        const error = new WhiprayError({
          code: "DEADLINE_EXCEEDED",
          message: `${call.method} ran out of time after ${deadlineMs} ms`,
        });
        call.abort(error);
        call.fail(error);
      });
    }
    this.#dispatch(call);
  }

  cancel(sequence: number, sparesChildren: boolean): void {
    const details = sparesChildren ? { recursive: false } : {};
    this.#ledger.running(sequence)?.abort(new TaskCancelledError({ message: "Cancelled by the caller", details }));
  }

  demand(sequence: number, body: Uint8Array): void {
    if (body.length < 8) return;
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    this.#ledger.running(sequence)?.demand(view.getUint32(0, true), view.getUint32(4, true));
  }

  acknowledge(body: Uint8Array): void {
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    const count = Math.min(view.getUint32(0, true), Math.floor((body.length - 4) / 8));
    for (let at = 4; at < 4 + 8 * count; at += 8) {
      const sequence = view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true);
      this.#ledger.acknowledge(sequence);
      if (this.#tails.size > 0) this.#tails.delete(sequence);
    }
  }

  answer(call: SessionCall, answer: Answer): void {
    const bytes = answer.kind === "error" ? 0 : bytesOf(answer.parts);
    // Items that the caller has not taken stay with the answer: it may have to be sent again behind them.
    if (call.unacknowledged.size > 0) this.#tails.set(call.sequence, call);
    if (this.#ledger.finish(call.sequence, answer, bytes) && this.#route) this.#sendAnswer(this.#route, answer);
  }

  sendItem(call: SessionCall, index: number, parts: Parts, room: () => void): void {
    const route = this.#route;
    if (!route) {
      // Sent after the reconnect; the producer goes on within its demand.
      room();
      return;
    }
    sendMessage(route, KIND.ITEM, 0, call.sequence, parts, (of) => encodeControl({ i: index, ...of }));
    route.whenRoom(room);
  }

  #sendAnswer(route: Route, answer: Answer, came = 0): void {
    const { sequence } = answer;
    if (answer.kind === "error") route.send(KIND.ERROR, 0, sequence, EMPTY, [encodeError(answer.error)]);
    else if (answer.kind === "reply" && isInline(answer.parts))
      route.send(KIND.REPLY, 0, sequence, EMPTY, answer.parts);
    else if (answer.kind === "reply") {
      sendMessage(route, KIND.REPLY, 0, sequence, answer.parts, (of) => (of.p ? encodeControl(of) : EMPTY), came);
    } else {
      const { items, parts } = answer;
      sendMessage(route, KIND.END, 0, sequence, parts, (of) => encodeControl({ n: items, ...of }), came);
    }
  }

  /**
   * A route is open. `streams` tells where the caller's streams go on, `came` how many bytes of answers he has; with a new session everything of
   * the old one is dropped.
   */
  attach(
    route: Route,
    known: boolean,
    streams: readonly (readonly [number, number])[],
    came: ReadonlyMap<number, number>,
  ): void {
    this.#arrivals = [];
    if (!known) {
      this.#drop(new TaskCancelledError({ message: "The caller restarted or gave up its session" }));
      this.#ledger = newLedger();
    }
    this.#route = route;
    for (const [sequence, next] of streams) {
      const call = this.#ledger.running(sequence) ?? this.#tails.get(sequence);
      for (const [index, parts] of call?.unacknowledged ?? []) {
        if (index >= next)
          sendMessage(route, KIND.ITEM, 0, sequence, parts, (of) => encodeControl({ i: index, ...of }));
      }
    }
    for (const kept of this.#ledger.repliesToResend()) this.#sendAnswer(route, kept, came.get(kept.sequence));
  }

  detach(): void {
    this.#route = undefined;
    this.#arrivals = [];
  }

  /** The session is over: running calls are aborted. */
  end(error: WhiprayError): void {
    this.detach();
    this.#drop(error);
  }

  #drop(error: WhiprayError): void {
    this.#tails.clear();
    for (const call of this.#ledger.end()) {
      call.deadline?.cancel();
      call.abort(error);
    }
  }
}

function newLedger(): CalleeLedger<SessionCall, Answer> {
  return new CalleeLedger({ maxKeptReplies: SESSION_KEPT_REPLIES, maxKeptBytes: SESSION_KEPT_BYTES }, (sequence) => ({
    kind: "error",
    sequence,
    error: new OutcomeUnknownError({
      message: `The call ended, but its reply could not be kept: more than ${SESSION_KEPT_REPLIES} replies or ${SESSION_KEPT_BYTES} bytes waited for this caller`,
    }),
  }));
}
