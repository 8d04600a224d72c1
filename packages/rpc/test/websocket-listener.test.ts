import { createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { type LogFields, type Logger, SimulatedClock, silentLogger } from "@whipray/core";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import {
  type Channel,
  dialTransport,
  FAILED_TRIES_LIMIT,
  FAILED_TRY_DELAY_MS,
  type Listener,
  listenWebSocket,
  newClusterSecret,
  type Role,
  roleToken,
  tokenDigest,
  tokenMatches,
  type WebSocketListenOptions,
} from "../src/index.ts";
import { WRONG_PROTOCOL_LOG_MS } from "../src/line-limit.ts";
import { MAX_WEBSOCKET_FRAGMENTS, MAX_WEBSOCKET_MESSAGE_BYTES } from "../src/websocket-pipe.ts";
import { TEST_CERT, TEST_KEY } from "./certificate.ts";
import { numbered, Recorder, until } from "./frames.ts";

const open: { listener: Listener; channels: Channel[] }[] = [];
afterEach(async () => {
  for (const { listener, channels } of open.splice(0)) {
    for (const channel of channels) channel.destroy();
    await listener.close();
  }
});

async function serve(
  options: Partial<WebSocketListenOptions> = {},
): Promise<{ url: string; port: number; channels: Channel[]; roles: Role[] }> {
  const channels: Channel[] = [];
  const roles: Role[] = [];
  const listener = await listenWebSocket({
    onChannel(channel, role) {
      channels.push(channel);
      roles.push(role);
    },
    authorize: (token) => (token === "raylet-token" ? "raylet" : token === "driver-token" ? "driver" : undefined),
    ...options,
  });
  open.push({ listener, channels });
  return { url: listener.url, port: Number(new URL(listener.url).port), channels, roles };
}

interface Answer {
  status: number;
  body: string;
}
function ask(
  port: number,
  options: { method?: string; path?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, agent: false, ...options }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    asked.on("error", reject);
    asked.end();
  });
}
const UPGRADE = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

/** Sends bytes over plain TCP and gives all that comes back until the other side closes. */
function raw(port: number, ...texts: string[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let answer = "";
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(answer));
    for (const text of texts) socket.write(text);
  });
}

describe("upgrades", () => {
  test("the token's role comes with the channel", async () => {
    const { url, roles } = await serve();
    const dialer = dialTransport();
    const one = await dialer.dial(url, { token: "driver-token" });
    const two = await dialer.dial(url, { token: "raylet-token" });
    await until(() => roles.length === 2);
    expect(roles).toEqual(["driver", "raylet"]);
    one.destroy();
    two.destroy();
  });

  test("without a token, or with a wrong one, the answer is UNAUTHENTICATED after a second (B5)", async () => {
    const clock = new SimulatedClock();
    const { url, channels } = await serve({ clock });
    for (const token of [undefined, "wrong", "driver-token2"]) {
      let error: unknown;
      const dial = dialTransport().dial(url, token === undefined ? {} : { token });
      dial.catch((caught: unknown) => {
        error = caught;
      });
      await until(() => clock.nextAtMs() !== undefined, "the delayed answer");
      expect(error).toBeUndefined();
      clock.advance(FAILED_TRY_DELAY_MS);
      await expect(dial).rejects.toMatchObject({
        name: "AuthenticationError",
        code: "UNAUTHENTICATED",
        retryable: false,
      });
    }
    expect(channels).toEqual([]);
  });

  test("the eleventh failed try of a minute is 429 at once; a right token still passes (B5)", async () => {
    const clock = new SimulatedClock();
    const { url, port, channels } = await serve({ clock });
    const failing = Array.from({ length: FAILED_TRIES_LIMIT }, () => ask(port, { headers: UPGRADE }));
    await until(() => {
      clock.advance(FAILED_TRY_DELAY_MS / 100);
      return clock.now() >= FAILED_TRY_DELAY_MS * 2;
    });
    for (const answer of await Promise.all(failing)) expect(answer.status).toBe(401);
    await expect(dialTransport().dial(url, { token: "wrong" })).rejects.toMatchObject({
      code: "BUSY",
      retryable: true,
    });
    const channel = await dialTransport().dial(url, { token: "raylet-token" });
    await until(() => channels.length === 1);
    channel.destroy();
  });

  test("a token of another cluster is UNAUTHENTICATED, the same role's of this one passes (B5)", async () => {
    const clock = new SimulatedClock();
    const [ours, theirs] = [newClusterSecret(), newClusterSecret()];
    const digest = tokenDigest(roleToken(ours, "driver"));
    const { url, roles } = await serve({
      clock,
      authorize: (token) => (tokenMatches(token, digest) ? "driver" : undefined),
    });
    const foreign = dialTransport().dial(url, { token: roleToken(theirs, "driver") });
    foreign.catch(() => {});
    await until(() => clock.nextAtMs() !== undefined, "the delayed answer");
    clock.advance(FAILED_TRY_DELAY_MS);
    await expect(foreign).rejects.toMatchObject({ name: "AuthenticationError", code: "UNAUTHENTICATED" });
    const own = await dialTransport().dial(url, { token: roleToken(ours, "driver") });
    await until(() => roles.length === 1);
    expect(roles).toEqual(["driver"]);
    own.destroy();
  });

  test.each<[string, Record<string, string>, number, string]>([
    ["a foreign Host", { host: "evil.example" }, 403, "HOST"],
    ["a foreign Origin", { origin: "https://evil.example" }, 403, "ORIGIN"],
    ["a cross-site page", { "sec-fetch-site": "cross-site" }, 403, "ORIGIN"],
  ])("from %s are refused even with a token (B32)", async (_name, headers, status, code) => {
    const { port, channels } = await serve();
    const answer = await ask(port, { headers: { ...UPGRADE, authorization: "Bearer raylet-token", ...headers } });
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.body).error.code).toBe(code);
    expect(channels).toEqual([]);
  });

  test("on another path are 404", async () => {
    const { port } = await serve();
    const answer = await ask(port, { path: "/other", headers: { ...UPGRADE, authorization: "Bearer raylet-token" } });
    expect(answer.status).toBe(404);
  });

  test("an allowed Origin and an allowed Host pass", async () => {
    const { port, channels } = await serve({
      allowedHosts: ["Head.Example"],
      allowedOrigins: ["https://page.example"],
    });
    const socket = new WebSocket(`ws://127.0.0.1:${port}`, {
      headers: { authorization: "Bearer driver-token", host: "head.example:80", origin: "https://page.example" },
    });
    await until(() => channels.length === 1 && socket.readyState === WebSocket.OPEN);
    socket.terminate();
  });
});

describe("plain HTTP on the same port", () => {
  test("/healthz is open, the rest is 404 without a handler", async () => {
    const { port } = await serve();
    expect(await ask(port, { path: "/healthz" })).toEqual({ status: 200, body: "ok\n" });
    expect((await ask(port, { path: "/healthz", method: "POST" })).status).toBe(404);
    expect((await ask(port, { path: "/" })).status).toBe(404);
  });

  test("a handler gets what passed the checks, and nothing else (B32, CVE-2026-27482)", async () => {
    const asked: string[] = [];
    const { port } = await serve({
      httpHandler(incoming, response) {
        asked.push(`${incoming.method} ${incoming.url}`);
        response.end("handled");
      },
    });
    expect(await ask(port, { path: "/api" })).toEqual({ status: 200, body: "handled" });
    for (const method of ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
      for (const headers of [{ host: "evil.example" }, { origin: "null" }, { "sec-fetch-site": "same-site" }]) {
        expect((await ask(port, { path: "/api", method, headers: headers as Record<string, string> })).status).toBe(
          403,
        );
      }
    }
    expect((await ask(port, { path: "/healthz", headers: { host: "evil.example" } })).status).toBe(403);
    expect(asked).toEqual(["GET /api"]);
  });

  test("a handler, an authorizer or an acceptor that throws ends its own request and nothing else", async () => {
    const fail = (): never => {
      throw new Error("boom");
    };
    const failing = await serve({ httpHandler: fail, authorize: fail });
    expect((await ask(failing.port, { path: "/api" })).status).toBe(500);
    expect((await ask(failing.port, { headers: UPGRADE })).status).toBe(500);
    expect((await ask(failing.port, { path: "/healthz" })).status).toBe(200);
    const refusing = await serve({ onChannel: fail });
    const channel = await dialTransport().dial(refusing.url, { token: "raylet-token" });
    const seen = new Recorder();
    channel.start(seen);
    await until(() => seen.ends.length === 1);
    expect((await ask(refusing.port, { path: "/healthz" })).status).toBe(200);
  });

  test("10 000 headers are 431, a URL of a megabyte is 414 (B13)", async () => {
    const { port } = await serve();
    const headers = Array.from({ length: 10_000 }, (_, index) => `x-${index}: ${index}\r\n`).join("");
    expect(await raw(port, `GET / HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`)).toMatch(/^HTTP\/1.1 431 /);
    expect(await raw(port, `GET /${"x".repeat(1_048_576)} HTTP/1.1\r\nHost: localhost\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 414 /,
    );
    expect(await raw(port, `GET /${"x".repeat(10_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 414 /,
    );
  });

  test("frames and TLS on the HTTP port are answered once, and closed (B3)", async () => {
    const { port } = await serve();
    const frame = Buffer.from(numbered(1)).toString("latin1");
    expect(await raw(port, frame)).toMatch(/^HTTP\/1.1 400 .*WRONG_PROTOCOL/s);
    expect(await raw(port, "\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03")).toMatch(/^HTTP\/1.1 400 .*WRONG_PROTOCOL/s);
  });
});

describe("the log of wrong protocols (B3)", () => {
  const listening = async (more: Partial<WebSocketListenOptions> = {}) => {
    const clock = new SimulatedClock();
    const lines: [string, LogFields | undefined][] = [];
    const logger: Logger = { ...silentLogger, warn: (message, fields) => void lines.push([message, fields]) };
    return { clock, lines, ...(await serve({ clock, logger, ...more })) };
  };
  const frame = Buffer.from(numbered(1)).toString("latin1");

  test("is one warning a minute, which counts what was held back", async () => {
    const { clock, lines, port } = await listening();
    for (let i = 0; i < 5; i++) expect(await raw(port, frame)).toContain("WRONG_PROTOCOL");
    expect(lines).toEqual([["bytes that are no HTTP", { code: "WRONG_PROTOCOL", remote: "127.0.0.1", heldBack: 0 }]]);
    clock.advance(WRONG_PROTOCOL_LOG_MS - 1);
    await raw(port, frame);
    expect(lines.length).toBe(1);
    clock.advance(1);
    await raw(port, frame);
    expect(lines.slice(1).map(([, fields]) => fields?.["heldBack"])).toEqual([5]);
  });

  test("also tells of plain text where TLS is spoken", async () => {
    const { lines, port } = await listening({ tls: { cert: TEST_CERT, key: TEST_KEY } });
    for (let i = 0; i < 3; i++) expect(await raw(port, "GET / HTTP/1.1\r\n\r\n")).toContain("TLS_REQUIRED");
    expect(lines.map(([message]) => message)).toEqual(["plain text where TLS is spoken"]);
  });

  test("is silent about what is only too long", async () => {
    const { lines, port } = await listening();
    expect(await raw(port, `GET /${"x".repeat(100_000)} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1.1 414 /);
    expect(lines).toEqual([]);
  });
});

describe("a WebSocket channel", () => {
  async function bare(): Promise<{ socket: WebSocket; seen: Recorder }> {
    const { url, channels } = await serve();
    const socket = new WebSocket(url, { headers: { authorization: "Bearer raylet-token" } });
    socket.on("error", () => {});
    await until(() => channels.length === 1 && socket.readyState === WebSocket.OPEN);
    const seen = new Recorder();
    channels[0]!.start(seen);
    return { socket, seen };
  }

  test("everything that is queued in one turn is one message; above 1 MiB it is split at a frame's end", async () => {
    const { url, channels } = await serve();
    const socket = new WebSocket(url, { headers: { authorization: "Bearer raylet-token" } });
    const sizes: number[] = [];
    socket.on("message", (data: Buffer) => sizes.push(data.length));
    await until(() => channels.length === 1);
    for (let i = 1; i <= 50; i++) channels[0]!.send([numbered(i)]);
    await until(() => sizes.length > 0);
    expect(sizes).toEqual([50 * 24]);
    sizes.length = 0;
    for (let i = 1; i <= 5; i++) channels[0]!.send([numbered(i, 400_000)]);
    await until(() => sizes.length === 3);
    expect(sizes).toEqual([800_040, 800_040, 400_020]);
    socket.terminate();
  });

  test("a text message is WRONG_PROTOCOL", async () => {
    const { socket, seen } = await bare();
    socket.send("hello");
    await until(() => seen.ends.length === 1);
    expect(seen.ends[0]?.code).toBe("WRONG_PROTOCOL");
  });

  test("a message that ends inside a frame is FRAME_SIZE", async () => {
    const { socket, seen } = await bare();
    socket.send(Buffer.concat([numbered(1), numbered(2).subarray(0, 21)]));
    await until(() => seen.ends.length === 1);
    expect(seen.frames.length).toBe(1);
    expect(seen.ends[0]?.code).toBe("FRAME_SIZE");
  });

  test("a message above 1 MiB is FRAME_SIZE, refused by its length alone", async () => {
    const { socket, seen } = await bare();
    socket.send(Buffer.alloc(MAX_WEBSOCKET_MESSAGE_BYTES + 1));
    await until(() => seen.ends.length === 1);
    expect(seen.ends[0]?.code).toBe("FRAME_SIZE");
  });

  test("many tiny fragments are FRAME_SIZE (B12, CVE-2026-48779)", async () => {
    const { socket, seen } = await bare();
    for (let i = 0; i <= MAX_WEBSOCKET_FRAGMENTS; i++) socket.send(Buffer.of(0), { fin: false });
    await until(() => seen.ends.length === 1);
    expect(seen.ends[0]?.code).toBe("FRAME_SIZE");
  });

  test("a connection that goes away without a goodbye is LINK_BROKEN", async () => {
    const { socket, seen } = await bare();
    socket.terminate();
    await until(() => seen.ends.length === 1);
    expect(seen.ends[0]?.code).toBe("LINK_BROKEN");
  });
});

describe("dialling", () => {
  test("a path that is not served is NOT_FOUND, a server that is no Whipray WRONG_PROTOCOL", async () => {
    const { url } = await serve();
    await expect(dialTransport().dial(`${url}/other`, { token: "raylet-token" })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
    const other = createServer((_request, response) => response.end("hello")).listen(0, "127.0.0.1");
    await until(() => other.listening);
    const { port } = other.address() as AddressInfo;
    await expect(dialTransport().dial(`ws://127.0.0.1:${port}`)).rejects.toMatchObject({ code: "WRONG_PROTOCOL" });
    other.close();
    other.closeAllConnections();
  });

  test("a server that never answers is TIMEOUT", async () => {
    const { url } = await serve({ clock: new SimulatedClock() });
    await expect(dialTransport().dial(url, { timeoutMs: 100 })).rejects.toMatchObject({
      code: "TIMEOUT",
      retryable: true,
    });
  });

  test("a taken port is ADDRESS_IN_USE", async () => {
    const { port } = await serve();
    await expect(serve({ port })).rejects.toMatchObject({ code: "ADDRESS_IN_USE" });
  });

  test("wss without a pin works with a given authority, and only with it", async () => {
    const { url, channels } = await serve({ tls: { cert: TEST_CERT, key: TEST_KEY } });
    expect(url).toMatch(/^wss:/);
    const channel = await dialTransport({ ca: TEST_CERT }).dial(url, { token: "raylet-token" });
    await until(() => channels.length === 1);
    const seen = new Recorder();
    channels[0]!.start(seen);
    channel.send([numbered(1)]);
    await until(() => seen.frames.length === 1);
    channel.destroy();
    await expect(dialTransport().dial(url, { token: "raylet-token" })).rejects.toMatchObject({ code: "TLS_UNTRUSTED" });
  });
});
