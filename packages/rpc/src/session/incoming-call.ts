import { TaskCancelledError, type Timer, type WhiprayError } from "@whipray/core";
import type { IncomingCall, Parts, Peer } from "../call.ts";
import { STREAM_DEMAND } from "../limits.ts";
import type { CallHeader } from "./message.ts";

/** How an incoming call reaches its session. */
export interface CallSink {
  /** The call's one answer. */
  answer(call: SessionCall, answer: Answer): void;
  /** One item of a stream; `room` is called when the route takes more. */
  sendItem(call: SessionCall, index: number, parts: Parts, room: () => void): void;
}

/** The end of a call: what is kept until it is acknowledged. */
export type Answer = { readonly sequence: number } & (
  | { kind: "reply"; parts: Parts }
  | { kind: "error"; error: unknown }
  | { kind: "end"; items: number; parts: Parts }
);

const NEVER_ABORTED = new AbortController().signal;
const NO_ITEMS: ReadonlyMap<number, Parts> = new Map();

interface Waiter {
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** A call as its callee sees it. */
export class SessionCall implements IncomingCall {
  readonly method: string;
  readonly parts: Parts;
  readonly epoch: number | undefined;
  readonly traceparent: string | undefined;
  readonly wantsStream: boolean;
  readonly sequence: number;
  readonly peer: Peer;
  readonly #sink: CallSink;
  // Most calls are never aborted: the controller is made when somebody looks.
  #abort: AbortController | undefined;
  #abortedWith: WhiprayError | undefined;
  // One is the rule: the call that this one was passed on by.
  #abortListeners: ((reason: WhiprayError) => void)[] | undefined;
  #finished = false;
  deadline: Timer | undefined;
  #items = 0;
  #granted = STREAM_DEMAND;
  // Most calls have no items: what they need is made with the first one.
  #unacknowledged: Map<number, Parts> | undefined;
  #waiting: Waiter[] | undefined;

  constructor(sink: CallSink, peer: Peer, sequence: number, header: CallHeader, wantsStream: boolean, parts: Parts) {
    this.#sink = sink;
    this.peer = peer;
    this.sequence = sequence;
    this.method = header.m;
    this.epoch = header.e;
    this.traceparent = header.t;
    this.wantsStream = wantsStream;
    this.parts = parts;
  }

  /** Items that the caller has not taken yet: sent again after a reconnect. */
  get unacknowledged(): ReadonlyMap<number, Parts> {
    return this.#unacknowledged ?? NO_ITEMS;
  }

  get oneway(): boolean {
    return this.sequence === 0;
  }

  get signal(): AbortSignal {
    if (this.oneway && !this.#abortedWith) return NEVER_ABORTED;
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#abortedWith) this.#abort.abort(this.#abortedWith);
    }
    return this.#abort.signal;
  }

  get abortedWith(): WhiprayError | undefined {
    return this.#abortedWith;
  }

  onAbort(listener: (reason: WhiprayError) => void): () => void {
    this.#abortListeners ??= [];
    this.#abortListeners.push(listener);
    return () => {
      this.#abortListeners = this.#abortListeners?.filter((one) => one !== listener);
    };
  }

  reply(parts: Parts): void {
    if (this.wantsStream) this.end(parts);
    else this.#finish({ kind: "reply", sequence: this.sequence, parts });
  }

  fail(error: unknown): void {
    this.#finish({ kind: "error", sequence: this.sequence, error });
  }

  end(parts: Parts = []): void {
    this.#finish({ kind: "end", sequence: this.sequence, items: this.#items, parts });
  }

  item(parts: Parts): Promise<void> {
    if (this.#abortedWith) return Promise.reject(this.#abortedWith);
    if (this.#finished || !this.wantsStream) {
      return Promise.reject(new TaskCancelledError({ message: `Call ${this.method} takes no more items` }));
    }
    const index = this.#items++;
    this.#unacknowledged ??= new Map();
    this.#unacknowledged.set(index, parts);
    return new Promise((resolve, reject) => {
      this.#sink.sendItem(this, index, parts, () => {
        if (this.#abortedWith) reject(this.#abortedWith);
        else if (this.#items < this.#granted) resolve();
        else {
          this.#waiting ??= [];
          this.#waiting.push({ resolve, reject });
        }
      });
    });
  }

  /** DEMAND of the caller. */
  demand(granted: number, consumed: number): void {
    for (const index of this.unacknowledged.keys()) if (index < consumed) this.#unacknowledged?.delete(index);
    this.#granted = Math.max(this.#granted, granted);
    if (this.#items >= this.#granted) return;
    for (const { resolve } of this.#takeWaiting()) resolve();
  }

  /** Cancel, deadline or the end of the session. The callee still gives the answer. */
  abort(error: WhiprayError): void {
    if (this.#finished || this.#abortedWith) return;
    this.#abortedWith = error;
    this.#abort?.abort(error);
    for (const listener of this.#abortListeners ?? []) listener(error);
    for (const { reject } of this.#takeWaiting()) reject(error);
  }

  #takeWaiting(): Waiter[] {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    return waiting;
  }

  #finish(answer: Answer): void {
    if (this.#finished) return;
    this.#finished = true;
    this.deadline?.cancel();
    if (!this.oneway) this.#sink.answer(this, answer);
  }
}
