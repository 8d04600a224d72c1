import { asWhiprayError, systemClock, type Timer, WhiprayError } from "@whipray/core";
import { FrameSplitter } from "./frame-splitter.ts";
import type { Outbox } from "./outbox.ts";
import { CHANNEL_HIGH_WATER_BYTES, CHANNEL_LOW_WATER_BYTES, type Channel, type ChannelHandlers } from "./transport.ts";

/** A connection of the operating system, seen from a channel. */
export interface Pipe {
  readonly remote: string;
  /** Written and not yet taken by the operating system. */
  readonly pendingBytes: number;
  /** What waits is written as soon as it is this much, before the turn is over: the other side works while we go on. */
  readonly eagerBytes: number;
  /** What is to be written. */
  readonly outbox: Outbox;
  /** Takes everything out of the outbox and writes it at once. */
  write(): void;
  /** Lets bytes come in. Before, none do. */
  resume(): void;
  /** Says goodbye after what was written; reads on until the other side has ended too. */
  end(error: WhiprayError | undefined): void;
  destroy(): void;
}

/** What a pipe tells its channel. */
export interface PipeEvents {
  /** Bytes came. `whole`: they must end where a frame ends. */
  received(chunk: Uint8Array, whole: boolean): void;
  /** Something that was written has been taken by the operating system. */
  wrote(): void;
  /** It is over; without an error when the other side said goodbye. */
  ended(error: WhiprayError | undefined): void;
  /** The bytes that came are no frames; the pipe is to be destroyed. */
  broken(error: WhiprayError): void;
}

/** A channel that was closed and makes no progress for this long is destroyed. */
export const CLOSE_TIMEOUT_MS = 5_000;

/** The part of a Channel that all real connections share: batches, water marks, one end. */
export class FramedChannel implements Channel, PipeEvents {
  readonly #pipe: Pipe;
  readonly #outbox: Outbox;
  readonly #splitter: FrameSplitter;
  #handlers: ChannelHandlers | undefined;
  #state: "open" | "closing" | "closed" = "open";
  #flushing = false;
  #full = false;
  #error: WhiprayError | undefined;
  #told = false;
  #timer: Timer | undefined;

  constructor(open: (events: PipeEvents) => Pipe) {
    this.#splitter = new FrameSplitter((raw) => this.#handlers!.onFrame(raw));
    this.#pipe = open(this);
    this.#outbox = this.#pipe.outbox;
  }

  get remote(): string {
    return this.#pipe.remote;
  }

  get bufferedBytes(): number {
    return this.#outbox.bytes + this.#pipe.pendingBytes;
  }

  send(pieces: readonly Uint8Array[]): void {
    if (this.#state !== "open") return;
    this.#outbox.add(pieces);
    if (!this.#full && this.bufferedBytes > CHANNEL_HIGH_WATER_BYTES) this.#full = true;
    if (this.#outbox.bytes >= this.#pipe.eagerBytes && !this.#full) {
      this.#pipe.write();
      return;
    }
    if (this.#flushing) return;
    this.#flushing = true;
    // After the callbacks of all sockets of this turn, so that all they caused leaves together.
    setImmediate(this.#flush);
  }

  start(handlers: ChannelHandlers): void {
    this.#handlers = handlers;
    if (this.#state === "closed") queueMicrotask(() => this.#tell());
    else this.#pipe.resume();
  }

  close(error?: WhiprayError): void {
    if (this.#state !== "open") return;
    this.#flush();
    this.#state = "closing";
    this.#error = error;
    this.#splitter.stop();
    this.#pipe.end(error);
    this.#watch(this.#pipe.pendingBytes);
  }

  destroy(error?: WhiprayError): void {
    this.#finish(error ?? this.#error);
  }

  received(chunk: Uint8Array, whole: boolean): void {
    if (this.#state !== "open") return;
    try {
      this.#splitter.push(chunk);
      if (whole && this.#splitter.insideFrame) {
        throw new WhiprayError({ code: "FRAME_SIZE", message: "A message ended inside a frame" });
      }
    } catch (error) {
      this.destroy(asWhiprayError(error));
    }
  }

  wrote(): void {
    if (!this.#full || this.bufferedBytes >= CHANNEL_LOW_WATER_BYTES || this.#state !== "open") return;
    this.#full = false;
    try {
      this.#handlers?.onDrain();
    } catch (error) {
      this.destroy(asWhiprayError(error));
    }
  }

  ended(error: WhiprayError | undefined): void {
    if (this.#error !== undefined || error !== undefined) this.#finish(this.#error ?? error);
    else if (this.#state === "open" && this.#splitter.insideFrame) {
      this.#finish(linkBroken("The connection ended inside a frame"));
    } else this.#finish(undefined);
  }

  broken(error: WhiprayError): void {
    this.destroy(error);
  }

  #flush = (): void => {
    this.#flushing = false;
    if (this.#state === "open" && this.#outbox.bytes > 0) this.#pipe.write();
  };

  /** An other side that does not read must not hold a closed channel for ever. */
  #watch(pendingBytes: number): void {
    this.#timer = systemClock.after(CLOSE_TIMEOUT_MS, () => {
      const left = this.#pipe.pendingBytes;
      if (left > 0 && left < pendingBytes) this.#watch(left);
      else this.destroy();
    });
  }

  #finish(error: WhiprayError | undefined): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#error = error;
    this.#timer?.cancel();
    this.#splitter.stop();
    this.#outbox.clear();
    this.#pipe.destroy();
    // Never inside the call that caused it: the user may be in the middle of something.
    if (this.#handlers) queueMicrotask(() => this.#tell());
  }

  #tell(): void {
    if (this.#told) return;
    this.#told = true;
    this.#handlers?.onClose(this.#error);
  }
}

/** The connection went away without a goodbye. */
export function linkBroken(message: string, cause?: unknown): WhiprayError {
  return new WhiprayError({ code: "LINK_BROKEN", message, retryable: true, cause });
}
