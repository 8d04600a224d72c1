import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
  STATUS_CODES,
} from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { TlsOptions } from "node:tls";
import { asWhiprayError, type Clock, type Logger, silentLogger, systemClock, WhiprayError } from "@whipray/core";
import { WebSocketServer } from "ws";
import { sendBytes } from "./bytes/byte-server.io.ts";
import { BYTE_STREAMS_LIMIT, BYTES_PROTOCOL, type ByteStreams } from "./bytes/byte-stream.ts";
import type { Role } from "./call.ts";
import { FAILED_TRY_DELAY_MS, FailedTries } from "./failed-tries.ts";
import { FramedChannel } from "./framed-channel.ts";
import {
  bearerToken,
  type HttpRules,
  MAX_HTTP_HEADER_BYTES,
  type Refusal,
  refusal,
  refusalBody,
} from "./http-guard.ts";
import { HANDSHAKE_TIMEOUT_MS } from "./limits.ts";
import { LineLimit, WRONG_PROTOCOL_LOG_MS } from "./line-limit.ts";
import type { KeyedCertificate } from "./tls/certificate.ts";
import { TLS_VERSION } from "./tls/pinned-socket.io.ts";
import { refusePlainText } from "./tls/plain-text-gate.io.ts";
import type { Channel, Listener } from "./transport.ts";
import { WEBSOCKET_OPTIONS, WebSocketPipe } from "./websocket-pipe.ts";

/** Connections of one listener, links and plain HTTP together. */
export const MAX_CONNECTIONS = 16_384;
/** How long a refused connection is kept for the other side to read why. */
const LINGER_MS = 1_000;
const UNAUTHENTICATED: Refusal = {
  status: 401,
  code: "UNAUTHENTICATED",
  message: "The token is missing or is not a token of this cluster",
};
const TOO_MANY: Refusal = {
  status: 429,
  code: "BUSY",
  message: "Too many failed tries from this address; wait a minute",
};
const INTERNAL: Refusal = { status: 500, code: "INTERNAL", message: "The server failed; its log says why" };
const TLS_REQUIRED: Refusal = {
  status: 400,
  code: "TLS_REQUIRED",
  message: 'This port speaks TLS only; take the wss:// address with its pin that "whipray start --head" prints',
};
const NOT_RAYLET: Refusal = { status: 403, code: "FORBIDDEN", message: "Bytes are given to raylets alone" };
const STREAMS_FULL: Refusal = {
  status: 503,
  code: "BUSY",
  message: `${BYTE_STREAMS_LIMIT} byte streams are under way here`,
};
const NOT_FOUND: Refusal = { status: 404, code: "NOT_FOUND", message: "Nothing is served here" };

export interface WebSocketListenOptions {
  /** Default `127.0.0.1`. */
  host?: string | undefined;
  /** 0, the default, takes a free port: see the listener's `url`. */
  port?: number | undefined;
  onChannel: (channel: Channel, role: Role) => void;
  /**
   * The role of a token, undefined for none. Must take the same time for every wrong token (`tokenMatches`). Asked once per
   * connection, before the upgrade.
   */
  authorize: (token: string, remoteAddress: string) => Role | undefined;
  /** See `HttpRules`; none by default. */
  allowedHosts?: readonly string[] | undefined;
  allowedOrigins?: readonly string[] | undefined;
  /** Serves what is no upgrade, after the same checks; without it everything but `/healthz` is 404. */
  httpHandler?: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  /** Gives bytes to raylets that upgrade to `BYTES_PROTOCOL`; without it nobody gets any. */
  byteStreams?: ByteStreams | undefined;
  /** Speaks TLS with this certificate, and with nobody who does not. Default: plain text. */
  tls?: KeyedCertificate | undefined;
  clock?: Clock | undefined;
  /** Told what was refused and what went wrong, of wrong protocols at most a line a minute; silent by default. */
  logger?: Logger | undefined;
}

/**
 * Listens for links over WebSocket, and for plain HTTP on the same port. Every request passes the checks of `refusal`, an
 * upgrade also that of its bearer token: a wrong one is answered after a second, and more than ten a minute from one
 * address at once with 429. A right token always passes, so that a misconfigured process behind the same NAT or tunnel
 * locks nobody out (tokens have 256 bits: there is nothing to guess).
 *
 * @throws WhiprayError `ADDRESS_IN_USE`, `INVALID_ADDRESS`.
 */
export async function listenWebSocket(options: WebSocketListenOptions): Promise<Listener> {
  const { host = "127.0.0.1", port = 0, tls, clock = systemClock, logger = silentLogger } = options;
  const rules: HttpRules = {
    allowedHosts: [host, ...(options.allowedHosts ?? [])].map((name) => name.toLowerCase()),
    allowedOrigins: options.allowedOrigins ?? [],
  };
  const tries = new FailedTries();
  const streaming = new Set<Duplex>();
  const sockets = new WebSocketServer({ ...WEBSOCKET_OPTIONS, noServer: true, clientTracking: false });
  const server = createServer(tls, (request, response) => {
    try {
      serve(request, response, rules, options.httpHandler);
    } catch (error) {
      logger.error("an HTTP handler threw", { url: request.url, error: String(error) });
      if (response.headersSent) response.destroy();
      else answer(response, INTERNAL);
    }
  });
  server.maxConnections = MAX_CONNECTIONS;
  const limit = new LineLimit(WRONG_PROTOCOL_LOG_MS);
  const wrongProtocol = (socket: Socket, what: string): void => {
    const heldBack = limit.take(clock.now());
    if (heldBack !== undefined) logger.warn(what, { code: "WRONG_PROTOCOL", remote: socket.remoteAddress, heldBack });
  };
  const closeSilent =
    tls &&
    refusePlainText(server, HANDSHAKE_TIMEOUT_MS, clock, (socket) => {
      wrongProtocol(socket, "plain text where TLS is spoken");
      refuseUpgrade(socket, TLS_REQUIRED);
    });
  server.on("tlsClientError", (error: Error, socket: Socket) => {
    logger.debug("a TLS handshake failed", { remote: socket.remoteAddress, error: error.message });
    socket.destroy();
  });

  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const remote = request.socket.remoteAddress ?? "unknown";
    // Until the upgrade is done nobody else listens: an unheard error event would end the process.
    const onError = (): void => void socket.destroy();
    socket.on("error", onError);
    const streams = request.headers.upgrade === BYTES_PROTOCOL ? options.byteStreams : undefined;
    const refused = refusal(request, rules) ?? (streams || pathOf(request) === "/" ? undefined : NOT_FOUND);
    if (refused) {
      refuseUpgrade(socket, refused);
      return;
    }
    let role: Role | undefined;
    try {
      role = options.authorize(bearerToken(request.headers.authorization), remote);
    } catch (error) {
      logger.error("checking a token failed", { remote, error: String(error) });
      refuseUpgrade(socket, INTERNAL);
      return;
    }
    if (role === undefined) {
      if (!tries.note(remote, clock.now())) refuseUpgrade(socket, TOO_MANY);
      else clock.after(FAILED_TRY_DELAY_MS, () => refuseUpgrade(socket, UNAUTHENTICATED));
      return;
    }
    if (streams) {
      if (role !== "raylet") refuseUpgrade(socket, NOT_RAYLET);
      else if (streaming.size >= BYTE_STREAMS_LIMIT) refuseUpgrade(socket, STREAMS_FULL);
      else {
        streaming.add(socket);
        void giveBytes(streams, request, socket).finally(() => streaming.delete(socket));
      }
      return;
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      socket.removeListener("error", onError);
      const channel = new FramedChannel((events) => new WebSocketPipe(webSocket, remote, events));
      try {
        options.onChannel(channel, role);
      } catch (error) {
        logger.error("taking a new channel failed", { remote, error: String(error) });
        channel.destroy(asWhiprayError(error));
      }
    });
  });
  server.on("clientError", (error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket: Duplex) => {
    if (!socket.writable) return;
    const refused = badRequest(error);
    if (refused.code === "WRONG_PROTOCOL") wrongProtocol(socket as Socket, "bytes that are no HTTP");
    else logger.debug("a request was refused", { remote: (socket as Socket).remoteAddress, error: error.message });
    refuseUpgrade(socket, refused);
  });

  await listen(server, host, port);
  // For example no file descriptor left for a new connection: those that exist go on.
  server.on("error", (error) => logger.error("accepting connections failed", { error: error.message }));
  const { address, family, port: bound } = server.address() as AddressInfo;
  const name = family === "IPv6" ? `[${address}]` : address;
  return {
    url: `${tls ? "wss" : "ws"}://${name}:${bound}`,
    // Links that exist go on: they belong to whoever took them.
    async close() {
      server.close();
      server.closeAllConnections();
      for (const socket of streaming) socket.destroy();
      closeSilent?.();
    },
  };
}

async function giveBytes(streams: ByteStreams, request: IncomingMessage, socket: Duplex): Promise<void> {
  try {
    const stream = await streams(request.url ?? "");
    if (socket.destroyed) stream.done();
    else await sendBytes(socket, stream);
  } catch (error) {
    const { code, message } = asWhiprayError(error);
    refuseUpgrade(socket, { status: 409, code, message });
  }
}

function createServer(tls: KeyedCertificate | undefined, handler: RequestListener): Server {
  const limits: ServerOptions & TlsOptions = {
    maxHeaderSize: MAX_HTTP_HEADER_BYTES,
    headersTimeout: HANDSHAKE_TIMEOUT_MS,
    connectionsCheckingInterval: 1_000,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    minVersion: TLS_VERSION,
  };
  return tls
    ? (createHttpsServer({ ...limits, ...tls }, handler) as unknown as Server)
    : createHttpServer(limits, handler);
}

function serve(
  request: IncomingMessage,
  response: ServerResponse,
  rules: HttpRules,
  handler: WebSocketListenOptions["httpHandler"],
): void {
  const refused = refusal(request, rules);
  if (!refused && pathOf(request) === "/healthz" && (request.method === "GET" || request.method === "HEAD")) {
    response.writeHead(200, { "content-type": "text/plain", "cache-control": "no-store" }).end("ok\n");
  } else if (!refused && handler) handler(request, response);
  else answer(response, refused ?? NOT_FOUND);
}

function answer(response: ServerResponse, refused: Refusal): void {
  response.writeHead(refused.status, { "content-type": "application/json", connection: "close" });
  response.end(refusalBody(refused));
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? "").split("?", 1)[0]!;
}

/**
 * Answers on a bare socket, and closes it. What still comes in is read and dropped for a moment: closing with unread bytes
 * would reset the connection and could take the answer away.
 */
function refuseUpgrade(socket: Duplex, refused: Refusal): void {
  if (socket.destroyed) return;
  const body = refusalBody(refused);
  socket.end(
    `HTTP/1.1 ${refused.status} ${STATUS_CODES[refused.status] ?? "Refused"}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  socket.resume();
  socket.once("end", () => socket.destroy());
  systemClock.after(LINGER_MS, () => socket.destroy());
}

function badRequest(error: NodeJS.ErrnoException & { rawPacket?: Buffer }): Refusal {
  if (error.code === "HPE_HEADER_OVERFLOW") {
    // A packet without a line's end is inside the request line (a URL), or inside one enormous header.
    return error.rawPacket?.includes(0x0a)
      ? { status: 431, code: "HEADERS_TOO_LARGE", message: `The headers have more than ${MAX_HTTP_HEADER_BYTES} bytes` }
      : { status: 414, code: "URL_TOO_LONG", message: `The URL has more than ${MAX_HTTP_HEADER_BYTES} bytes` };
  }
  if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") {
    return { status: 408, code: "HANDSHAKE_TIMEOUT", message: `No whole request within ${HANDSHAKE_TIMEOUT_MS} ms` };
  }
  return { status: 400, code: "WRONG_PROTOCOL", message: "This port speaks HTTP and WebSocket only" };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      const code = error.code === "EADDRINUSE" ? "ADDRESS_IN_USE" : "INVALID_ADDRESS";
      const message = `Cannot listen on ${host}:${port}: ${error.message}`;
      reject(new WhiprayError({ code, message, details: { host, port }, cause: error }));
    };
    server.once("error", onError);
    server.listen({ host, port, backlog: 1_024 }, () => {
      server.removeListener("error", onError);
      resolve();
    });
  });
}
