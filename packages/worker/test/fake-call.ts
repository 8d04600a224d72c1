import type { WhiprayError } from "@whipray/core";
import { decodeValues, encodeValues, type IncomingCall, type Parts, type Peer } from "@whipray/rpc";

/** An incoming call without a wire: keeps what the callee said. */
export class FakeCall implements IncomingCall {
  readonly method: string;
  readonly parts: Parts;
  readonly epoch: number | undefined;
  readonly traceparent = undefined;
  readonly wantsStream: boolean;
  readonly oneway = false;
  readonly peer: Peer;
  readonly abort = new AbortController();
  readonly items: unknown[] = [];
  readonly done: Promise<unknown>;
  #resolve!: (value: unknown) => void;
  #reject!: (error: unknown) => void;

  constructor(method: string, args: unknown[] = [], options: { epoch?: number; stream?: boolean; peer?: Peer } = {}) {
    this.method = method;
    this.peer = options.peer ?? ({} as Peer);
    this.parts = encodeValues(args);
    this.epoch = options.epoch;
    this.wantsStream = options.stream ?? false;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.done.catch(() => {});
  }

  get signal(): AbortSignal {
    return this.abort.signal;
  }
  get abortedWith(): WhiprayError | undefined {
    return this.signal.reason as WhiprayError | undefined;
  }
  onAbort(listener: (reason: WhiprayError) => void): () => void {
    const heard = (): void => listener(this.signal.reason as WhiprayError);
    this.signal.addEventListener("abort", heard);
    return () => this.signal.removeEventListener("abort", heard);
  }
  reply(parts: Parts): void {
    this.#resolve(parts.length > 0 ? decodeValues(parts) : undefined);
  }
  fail(error: unknown): void {
    this.#reject(error);
  }
  async item(parts: Parts): Promise<void> {
    if (this.signal.aborted) throw this.signal.reason;
    this.items.push(decodeValues(parts));
  }
  end(): void {
    this.#resolve(this.items);
  }
}
