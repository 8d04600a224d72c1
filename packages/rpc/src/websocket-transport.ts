import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { AuthenticationError, WhiprayError } from "@whipray/core";
import { WebSocket } from "ws";
import { DIAL_TIMEOUT_MS, dialing, invalidAddress } from "./dialing.ts";
import { FramedChannel } from "./framed-channel.ts";
import { connectPinned } from "./tls/pinned-socket.io.ts";
import { pinIn, withoutPin } from "./tls/pinned-url.ts";
import type { Channel, DialOptions, Transport } from "./transport.ts";
import { WEBSOCKET_CLIENT_OPTIONS, WebSocketPipe } from "./websocket-pipe.ts";

/** Node's words for a certificate that the system's authorities, or `ca`, do not vouch for. */
const UNTRUSTED = /SELF_SIGNED_CERT|UNABLE_TO_(GET|VERIFY)|ERR_TLS_CERT_ALTNAME|^CERT_/;
/** Bytes of a refusing answer that are read for its error. */
const REFUSAL_BYTES = 4_096;

export interface WebSocketTransportOptions {
  /** PEM of the certificate authority that a server without a pin in its address must come from, instead of the system's. */
  ca?: string | undefined;
}

/** Dials `ws://host:port`, `wss://host:port`, and `wss://host:port#pin=…`, whose server must prove that pin before it is told anything. */
export function webSocketTransport({ ca }: WebSocketTransportOptions = {}): Transport {
  return {
    async dial(url: string, options: DialOptions = {}): Promise<Channel> {
      const { address, pin } = webSocketUrl(url);
      return dialing<Channel>(withoutPin(url), options, (attempt) => {
        const failed = (error: Error): void => attempt.fail(dialError(withoutPin(url), error));
        let undo = (): void => {};
        const upgrade = (secured?: TLSSocket): void => {
          const socket = new WebSocket(address, {
            ...WEBSOCKET_CLIENT_OPTIONS,
            handshakeTimeout: options.timeoutMs ?? DIAL_TIMEOUT_MS,
            ...(options.token === undefined ? {} : { headers: { authorization: `Bearer ${options.token}` } }),
            ...(ca === undefined ? {} : { ca }),
            ...(secured && { createConnection: () => secured }),
          });
          undo = () => socket.terminate();
          socket.on("error", failed);
          socket.on("unexpected-response", (_request, response) => {
            readRefusal(withoutPin(url), response).then((error) => {
              attempt.fail(error);
              socket.terminate();
            }, attempt.fail);
          });
          socket.once("open", () => {
            socket.removeListener("error", failed);
            attempt.succeed(new FramedChannel((events) => new WebSocketPipe(socket, address.hostname, events)));
          });
        };
        if (pin === undefined) upgrade();
        else {
          const socket = connectPinned(address, pin, upgrade, failed);
          undo = () => socket.destroy();
        }
        return () => undo();
      });
    },
  };
}

function webSocketUrl(url: string): { address: URL; pin: string | undefined } {
  const pin = pinIn(url);
  const plain = withoutPin(url);
  const address = URL.canParse(plain) ? new URL(plain) : undefined;
  const known = address?.protocol === "ws:" || address?.protocol === "wss:";
  if (!address || !known || address.hostname === "" || address.username !== "") {
    throw invalidAddress(url, "must be ws://host:port, wss://host:port or wss://host:port#pin=…");
  }
  return { address, pin };
}

function dialError(url: string, error: NodeJS.ErrnoException): Error {
  const code = String(error.code);
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER" || code === "ERR_SSL_PACKET_LENGTH_TOO_LONG") {
    return new WhiprayError({
      code: "TLS_NOT_SPOKEN",
      message: `${url} does not speak TLS: the head there runs without --tls, or it is another server`,
      details: { url },
      cause: error,
    });
  }
  if (UNTRUSTED.test(code)) {
    return new WhiprayError({
      code: "TLS_UNTRUSTED",
      message:
        `No authority that is known here vouches for ${url} (${error.message}). A head with --tls is known by its pin: ` +
        `take the address with #pin= that "whipray start --head" prints`,
      details: { url },
      cause: error,
    });
  }
  const other = code.startsWith("HPE_") || code.startsWith("WS_ERR_") || code.startsWith("ERR_SSL");
  if (!other && !/^Invalid |^Server sent/.test(error.message)) return error;
  return new WhiprayError({
    code: "WRONG_PROTOCOL",
    message: `${url} does not speak WebSocket: ${error.message}`,
    details: { url },
    cause: error,
  });
}

/** The error in the answer of a server that refused the upgrade. */
async function readRefusal(url: string, response: IncomingMessage): Promise<WhiprayError> {
  const status = response.statusCode ?? 0;
  let text = "";
  response.setEncoding("utf8");
  for await (const chunk of response) {
    text += chunk as string;
    if (text.length > REFUSAL_BYTES) break;
  }
  const found = parseRefusal(text);
  const code = status === 401 ? "UNAUTHENTICATED" : (found?.code ?? (status === 429 ? "BUSY" : "WRONG_PROTOCOL"));
  const Kind = status === 401 ? AuthenticationError : WhiprayError;
  return new Kind({
    code,
    message: `${url} refused the connection (HTTP ${status}): ${found?.message ?? "it is no Whipray server"}`,
    retryable: status === 429 || status === 503,
    details: { url, status },
  });
}

function parseRefusal(text: string): { code: string; message: string } | undefined {
  try {
    const { code, message } = (JSON.parse(text) as { error: Record<string, unknown> }).error;
    if (typeof code !== "string" || !/^[A-Z_]{1,64}$/.test(code)) return undefined;
    return { code, message: String(message).slice(0, 500) };
  } catch {
    // Not our JSON: whoever answered is no Whipray server, and the caller says so.
    return undefined;
  }
}
