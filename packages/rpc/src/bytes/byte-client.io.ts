import { connect, type Socket } from "node:net";
import { asWhiprayError, WhiprayError } from "@whipray/core";
import { dialing, invalidAddress } from "../dialing.ts";
import { linkBroken } from "../framed-channel.ts";
import { MAX_HTTP_HEADER_BYTES } from "../http-guard.ts";
import { connectPinned } from "../tls/pinned-socket.io.ts";
import { pinIn, withoutPin } from "../tls/pinned-url.ts";
import { BYTE_STEP_BYTES, BYTE_STREAM_IDLE_MS, BYTES_HEADER, BYTES_PROTOCOL, type ByteFetcher } from "./byte-stream.ts";

/** Fetches from `ws:` and `wss:` ports, each time over a new connection. */
export function byteFetcher(token: string, idleMs: number = BYTE_STREAM_IDLE_MS): ByteFetcher {
  return {
    async fetch(url, path, take, signal) {
      const address = new URL(withoutPin(url));
      const pin = pinIn(url);
      if (address.protocol !== "ws:" && pin === undefined) {
        throw invalidAddress(url, "must be ws://host:port or wss://host:port#pin=… to give bytes");
      }
      signal?.throwIfAborted();
      const arrival = new Arrival(withoutPin(url), take);
      const socket = await opened(url, address, pin, arrival, signal);
      const abort = (): void => arrival.fail(asWhiprayError(signal?.reason, "CANCELLED"));
      signal?.addEventListener("abort", abort, { once: true });
      socket.setTimeout(idleMs, () => {
        arrival.fail(linkBroken(`${withoutPin(url)} sent nothing for ${idleMs} ms`));
      });
      socket.write(
        `GET ${path} HTTP/1.1\r\nHost: ${address.host}\r\nConnection: Upgrade\r\nUpgrade: ${BYTES_PROTOCOL}\r\nAuthorization: Bearer ${token}\r\n\r\n`,
      );
      try {
        await arrival.done;
      } finally {
        signal?.removeEventListener("abort", abort);
        socket.destroy();
      }
    },
  };
}

function opened(
  url: string,
  address: URL,
  pin: string | undefined,
  arrival: Arrival,
  signal: AbortSignal | undefined,
): Promise<Socket> {
  return dialing<Socket>(withoutPin(url), { ...(signal && { signal }) }, (attempt) => {
    const watch = (socket: Socket): void => {
      socket.on("error", (error) => arrival.fail(linkBroken(`The connection broke: ${error.message}`, error)));
      socket.on("close", () => arrival.fail(linkBroken(`${withoutPin(url)} ended before all bytes had come`)));
      attempt.succeed(socket);
    };
    if (pin !== undefined) {
      const socket = connectPinned(address, pin, watch, (error) => attempt.fail(error));
      socket.on("data", (bytes: Buffer) => arrival.add(bytes));
      return () => socket.destroy();
    }
    // One buffer for all that comes: it is read from and written to while it is in the processor's cache.
    const buffer = Buffer.allocUnsafeSlow(BYTE_STEP_BYTES);
    const socket = connect({
      host: address.hostname.replace(/^\[|\]$/g, ""),
      port: Number(address.port || 80),
      onread: {
        buffer,
        callback: (length) => {
          arrival.add(buffer.subarray(0, length));
          return true;
        },
      },
    });
    const failed = (error: Error): void => attempt.fail(error);
    socket.once("error", failed);
    socket.once("connect", () => {
      socket.removeListener("error", failed);
      watch(socket);
    });
    return () => socket.destroy();
  });
}

/** What comes in: the answer's head, then the bytes. */
class Arrival {
  readonly done: Promise<void>;
  readonly #url: string;
  readonly #take: (bytes: Uint8Array) => void;
  #head = Buffer.alloc(0);
  #missing: number | undefined;
  #settled = false;
  #resolve!: () => void;
  #reject!: (error: Error) => void;

  constructor(url: string, take: (bytes: Uint8Array) => void) {
    this.#url = url;
    this.#take = take;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.done.catch(() => {}); // it may fail before anybody waits
  }

  fail(error: Error): void {
    this.#settled = true;
    this.#reject(error);
  }

  add(bytes: Buffer): void {
    if (this.#settled) return;
    try {
      const body = this.#missing === undefined ? this.#readHead(bytes) : bytes;
      if (body.length > 0) {
        if (body.length > this.#missing!) throw wrong(this.#url, "it sent more bytes than it announced");
        this.#missing! -= body.length;
        this.#take(body);
      }
      if (this.#missing !== 0) return;
      this.#settled = true;
      this.#resolve();
    } catch (error) {
      this.fail(asWhiprayError(error));
    }
  }

  /** Gives what comes after the head. */
  #readHead(bytes: Buffer): Buffer {
    this.#head = Buffer.concat([this.#head, bytes]);
    const end = this.#head.indexOf("\r\n\r\n");
    if (end < 0) {
      if (this.#head.length > MAX_HTTP_HEADER_BYTES) throw wrong(this.#url, "its answer has no end");
      return Buffer.alloc(0);
    }
    const [status = "", ...lines] = this.#head.subarray(0, end).toString("latin1").split("\r\n");
    const rest = this.#head.subarray(end + 4);
    if (!status.startsWith("HTTP/1.1 101 ")) throw refused(this.#url, status, rest.toString("utf8"));
    const line = lines.find((one) => one.toLowerCase().startsWith(`${BYTES_HEADER}:`));
    const announced = Number(line?.slice(BYTES_HEADER.length + 1));
    if (!Number.isSafeInteger(announced) || announced < 0) throw wrong(this.#url, "its answer announces no bytes");
    this.#missing = announced;
    return rest;
  }
}

function wrong(url: string, why: string): WhiprayError {
  return new WhiprayError({ code: "WRONG_PROTOCOL", message: `${url} gives no bytes: ${why}`, details: { url } });
}

/** A refusal fits in one packet; what of it has not come is not waited for. */
function refused(url: string, status: string, body: string): WhiprayError {
  let found: { code?: unknown; message?: unknown } = {};
  try {
    found = (JSON.parse(body) as { error: typeof found }).error;
  } catch {
    // no JSON of ours: the status says what there is
  }
  const known = typeof found.code === "string" && /^[A-Z_]{1,64}$/.test(found.code);
  return new WhiprayError({
    code: known ? (found.code as string) : "WRONG_PROTOCOL",
    message: `${url} refused (${status.slice(0, 100)}): ${known ? String(found.message).slice(0, 500) : "it gives no bytes"}`,
    details: { url },
  });
}
