import { WhiprayError } from "@whipray/core";
import type { ClientOptions, RawData, WebSocket } from "ws";
import { linkBroken, type Pipe, type PipeEvents } from "./framed-channel.ts";
import { MessageOutbox } from "./outbox.ts";

/** Largest binary message: what one turn queued is split above this, at a frame's end. */
export const MAX_WEBSOCKET_MESSAGE_BYTES = 1_048_576;
/** Fragments of one message; we never send any (CVE-2026-48779, reliability B12). */
export const MAX_WEBSOCKET_FRAGMENTS = 64;
/** Chunks of the socket that one message may be put together from. */
const MAX_WEBSOCKET_CHUNKS = 16_384;
/** A close with an error: its code is the reason. */
const CLOSE_WITH_ERROR = 4_000;

/** Options of both sides. */
export const WEBSOCKET_OPTIONS = {
  perMessageDeflate: false,
  maxPayload: MAX_WEBSOCKET_MESSAGE_BYTES,
  maxFragments: MAX_WEBSOCKET_FRAGMENTS,
  maxBufferedChunks: MAX_WEBSOCKET_CHUNKS,
  skipUTF8Validation: true,
} as const;

/** Options of a client. An all-zero mask saves both sides a pass over every byte; masks protect browsers' proxies only. */
export const WEBSOCKET_CLIENT_OPTIONS: ClientOptions = {
  ...WEBSOCKET_OPTIONS,
  followRedirects: false,
  generateMask: (mask) => mask.fill(0),
};

/** An open WebSocket as a pipe: each binary message holds whole frames. */
export class WebSocketPipe implements Pipe {
  /** One turn, one message. */
  readonly outbox = new MessageOutbox();
  readonly eagerBytes = Number.POSITIVE_INFINITY;
  readonly remote: string;
  readonly #socket: WebSocket;
  readonly #events: PipeEvents;

  constructor(socket: WebSocket, remote: string, events: PipeEvents) {
    this.remote = remote;
    this.#socket = socket;
    this.#events = events;
    socket.pause();
    socket.on("message", (data: RawData, isBinary: boolean) => {
      if (isBinary) events.received(data as Buffer, true);
      else events.broken(new WhiprayError({ code: "WRONG_PROTOCOL", message: "The other side sent a text message" }));
    });
    socket.on("error", (error: NodeJS.ErrnoException) => events.broken(badMessage(error)));
    socket.on("close", (code: number, reason: Buffer) => events.ended(ending(code, reason)));
  }

  get pendingBytes(): number {
    return this.#socket.bufferedAmount;
  }

  write(): void {
    for (const message of this.outbox.takeMessages(MAX_WEBSOCKET_MESSAGE_BYTES)) {
      this.#socket.send(message, { binary: true, compress: false, fin: true }, this.#wrote);
    }
  }

  #wrote = (): void => this.#events.wrote();

  resume(): void {
    this.#socket.resume();
  }

  end(error: WhiprayError | undefined): void {
    this.#socket.resume();
    if (error) this.#socket.close(CLOSE_WITH_ERROR, error.code.slice(0, 120));
    else this.#socket.close(1000);
  }

  destroy(): void {
    this.#socket.terminate();
  }
}

function badMessage(error: NodeJS.ErrnoException): WhiprayError {
  const code = String(error.code);
  if (!code.startsWith("WS_ERR_")) return linkBroken(`The WebSocket broke: ${error.message}`, error);
  const size = code.endsWith("_LENGTH") || code === "WS_ERR_TOO_MANY_BUFFERED_PARTS";
  return new WhiprayError({
    code: size ? "FRAME_SIZE" : "WRONG_PROTOCOL",
    message: `The other side broke a rule of WebSocket: ${error.message}`,
    details: { rule: code },
    cause: error,
  });
}

function ending(code: number, reason: Buffer): WhiprayError | undefined {
  if (code === 1000 || code === 1001 || code === 1005) return undefined;
  const why = reason.toString("latin1").slice(0, 120);
  return code === CLOSE_WITH_ERROR
    ? linkBroken(`The other side closed the connection: ${why}`)
    : linkBroken(`The WebSocket closed with code ${code}`);
}
