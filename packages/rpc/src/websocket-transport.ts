import type { IncomingMessage } from "node:http";
import { WhiprayError } from "@whipray/core";
import { WebSocket } from "ws";
import { DIAL_TIMEOUT_MS, dialing, invalidAddress } from "./dialing.ts";
import { FramedChannel } from "./framed-channel.ts";
import type { Channel, DialOptions, Transport } from "./transport.ts";
import { WEBSOCKET_CLIENT_OPTIONS, WebSocketPipe } from "./websocket-pipe.ts";

/** Bytes of a refusing answer that are read for its error. */
const REFUSAL_BYTES = 4_096;

export interface WebSocketTransportOptions {
  /** PEM of the certificate authority that the server's certificate must come from, instead of the system's. */
  ca?: string | undefined;
}

/** Dials `ws://host:port` and `wss://host:port`. */
export function webSocketTransport({ ca }: WebSocketTransportOptions = {}): Transport {
  return {
    async dial(url: string, options: DialOptions = {}): Promise<Channel> {
      const address = webSocketUrl(url);
      return dialing<Channel>(url, options, (attempt) => {
        const socket = new WebSocket(address, {
          ...WEBSOCKET_CLIENT_OPTIONS,
          handshakeTimeout: options.timeoutMs ?? DIAL_TIMEOUT_MS,
          ...(options.token === undefined ? {} : { headers: { authorization: `Bearer ${options.token}` } }),
          ...(ca === undefined ? {} : { ca }),
        });
        const onError = (error: NodeJS.ErrnoException): void => attempt.fail(dialError(url, error));
        socket.on("error", onError);
        socket.on("unexpected-response", (_request, response) => {
          readRefusal(url, response).then((error) => {
            attempt.fail(error);
            socket.terminate();
          }, attempt.fail);
        });
        socket.once("open", () => {
          socket.removeListener("error", onError);
          attempt.succeed(new FramedChannel((events) => new WebSocketPipe(socket, address.hostname, events)));
        });
        return () => socket.terminate();
      });
    },
  };
}

function webSocketUrl(url: string): URL {
  const address = URL.canParse(url) ? new URL(url) : undefined;
  const known = address?.protocol === "ws:" || address?.protocol === "wss:";
  if (!address || !known || address.hostname === "" || address.username !== "" || address.hash !== "") {
    throw invalidAddress(url, "must be ws://host:port or wss://host:port");
  }
  return address;
}

function dialError(url: string, error: NodeJS.ErrnoException): Error {
  const code = String(error.code);
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
  return new WhiprayError({
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
