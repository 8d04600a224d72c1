import { asWhiprayError, type Clock, WhiprayError } from "@whipray/core";
import { FrameSplitter } from "./frame-splitter.ts";
import { linkBroken } from "./framed-channel.ts";
import { join } from "./outbox.ts";
import { CHANNEL_HIGH_WATER_BYTES, CHANNEL_LOW_WATER_BYTES, type Channel, type ChannelHandlers } from "./transport.ts";

/** What a memory channel asks of its network. */
export interface MemoryPath {
  clock: Clock;
  delayMs(from: string, to: string): number;
  blocked(from: string, to: string): boolean;
  cut(from: string, to: string): boolean;
  forget(channel: MemoryChannel): void;
}

/** Something on its way to the other end, in order: a frame, or the end. */
type Parcel = { frame: Uint8Array; arrived: boolean } | { end: WhiprayError | undefined; arrived: boolean };

/** One end of a connection inside the process. Frames in one piece are not copied. */
export class MemoryChannel implements Channel {
  readonly remote = "memory";
  readonly from: string;
  readonly to: string;
  readonly #path: MemoryPath;
  readonly #outgoing: Parcel[] = [];
  readonly #incoming: Parcel[] = [];
  readonly #splitter: FrameSplitter;
  #other: MemoryChannel | undefined;
  #handlers: ChannelHandlers | undefined;
  #state: "open" | "closing" | "closed" = "open";
  #error: WhiprayError | undefined;
  #bufferedBytes = 0;
  #full = false;
  #told = false;
  #lastArrivalMs = 0;

  constructor(from: string, to: string, path: MemoryPath) {
    this.from = from;
    this.to = to;
    this.#path = path;
    this.#splitter = new FrameSplitter((raw) => this.#handlers!.onFrame(raw));
  }

  /** The other end. */
  get other(): MemoryChannel {
    return this.#other!;
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /** Called once by the network, before anybody else has the channel. */
  join(other: MemoryChannel): void {
    this.#other = other;
  }

  send(pieces: readonly Uint8Array[]): void {
    if (this.#state !== "open") return;
    let bytes = 0;
    for (const piece of pieces) bytes += piece.length;
    this.#bufferedBytes += bytes;
    if (this.#bufferedBytes > CHANNEL_HIGH_WATER_BYTES) this.#full = true;
    if (this.#path.cut(this.from, this.to)) queueMicrotask(() => this.cut());
    else this.#post({ frame: join(pieces, bytes), arrived: false });
  }

  start(handlers: ChannelHandlers): void {
    this.#handlers = handlers;
    queueMicrotask(() => (this.#state === "closed" ? this.#tell() : this.#deliver()));
  }

  close(error?: WhiprayError): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    this.#error = error;
    this.#splitter.stop();
    const why = error && linkBroken(`The other side closed the connection: ${error.code}`);
    this.#post({ end: why, arrived: false });
  }

  destroy(error?: WhiprayError): void {
    if (this.#state === "closed") return;
    this.#outgoing.length = 0;
    this.#post({ end: linkBroken("The other side destroyed the connection"), arrived: false });
    this.#finish(error ?? this.#error);
  }

  /** The network cuts the connection: both ends learn it, what is under way is lost. */
  cut(): void {
    for (const end of [this, this.other]) {
      end.#outgoing.length = 0;
      end.#finish(linkBroken("The connection was cut"));
    }
  }

  /** Hands on what a partition has held back and does not any more. */
  release(): void {
    this.#drainOutgoing();
  }

  #post(parcel: Parcel): void {
    this.#outgoing.push(parcel);
    const { clock } = this.#path;
    const delayMs = this.#path.delayMs(this.from, this.to);
    const nowMs = clock.now();
    // A faster frame does not overtake a slower one.
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, nowMs + delayMs);
    const arrive = (): void => {
      parcel.arrived = true;
      this.#drainOutgoing();
    };
    if (this.#lastArrivalMs > nowMs) clock.after(this.#lastArrivalMs - nowMs, arrive);
    else queueMicrotask(arrive);
  }

  #drainOutgoing(): void {
    while (this.#outgoing[0]?.arrived && !this.#path.blocked(this.from, this.to)) {
      const parcel = this.#outgoing.shift()!;
      this.other.#incoming.push(parcel);
      if ("frame" in parcel) this.#bufferedBytes -= parcel.frame.length;
      else this.#finish(this.#error);
    }
    this.#forget();
    this.other.#deliver();
    this.#drained();
  }

  #drained(): void {
    if (!this.#full || this.#bufferedBytes >= CHANNEL_LOW_WATER_BYTES || this.#state !== "open") return;
    this.#full = false;
    try {
      this.#handlers?.onDrain();
    } catch (error) {
      this.destroy(asWhiprayError(error));
    }
  }

  #deliver(): void {
    if (!this.#handlers) return;
    for (let parcel = this.#incoming.shift(); parcel !== undefined; parcel = this.#incoming.shift()) {
      if (this.#state === "closed") return;
      if ("end" in parcel) this.#finish(this.#error ?? parcel.end);
      else this.#take(parcel.frame);
    }
  }

  #take(frame: Uint8Array): void {
    if (this.#state !== "open") return;
    try {
      this.#splitter.push(frame);
      if (this.#splitter.insideFrame) {
        throw new WhiprayError({ code: "FRAME_SIZE", message: "A message ended inside a frame" });
      }
    } catch (error) {
      this.destroy(asWhiprayError(error));
    }
  }

  #finish(error: WhiprayError | undefined): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#error = error;
    this.#splitter.stop();
    this.#incoming.length = 0;
    this.#forget();
    if (this.#handlers) queueMicrotask(() => this.#tell());
  }

  /** The network needs to know a channel as long as anything of it is under way, its end too. */
  #forget(): void {
    if (this.#state === "closed" && this.#outgoing.length === 0) this.#path.forget(this);
  }

  #tell(): void {
    if (this.#told) return;
    this.#told = true;
    this.#handlers?.onClose(this.#error);
  }
}
