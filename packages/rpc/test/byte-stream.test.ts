import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { WhiprayError } from "@whipray/core";
import { afterEach, describe, expect, test } from "vitest";
import { byteFetcher as quickFetcher } from "../src/bytes/byte-client.io.ts";
import { sendBytes } from "../src/bytes/byte-server.io.ts";
import {
  BYTE_STREAMS_LIMIT,
  type ByteStream,
  byteFetcher,
  type Listener,
  listenWebSocket,
  type ServerCertificate,
  withPin,
} from "../src/index.ts";
import { serverCertificate } from "../src/tls/certificate.ts";
import { until } from "./frames.ts";

const MIB = 1_048_576;
/** Longer than a machine under load keeps a live connection waiting. */
const SOON_MS = 300;
const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** More than the kernel takes in for a reader that stands still. */
const MUCH = new Uint8Array(64 * MIB);
const pattern = (bytes: number): Uint8Array => new Uint8Array(bytes).map((_, i) => (i * 7 + (i >> 8)) % 251);

/** A port whose paths are numbers of bytes, but for `/much` and `/none`. */
async function port(tls?: ServerCertificate): Promise<{ url: string; open: () => number }> {
  let open = 0;
  const listener: Listener = await listenWebSocket({
    tls,
    authorize: (token) => (token === "raylet-token" ? "raylet" : token === "driver-token" ? "driver" : undefined),
    onChannel: (channel) => channel.destroy(),
    byteStreams: async (path): Promise<ByteStream> => {
      if (path === "/none") throw new WhiprayError({ code: "INVALID_STATE", message: "nobody holds it" });
      open++;
      return { memory: path === "/much" ? MUCH : pattern(Number(path.slice(1))), done: () => open-- };
    },
  });
  ends.push(() => listener.close());
  return { url: tls ? withPin(listener.url, tls.pin) : listener.url, open: () => open };
}

async function fetched(url: string, path: string, token = "raylet-token"): Promise<Buffer> {
  const pieces: Buffer[] = [];
  await byteFetcher(token).fetch(url, path, (bytes) => void pieces.push(Buffer.from(bytes)));
  return Buffer.concat(pieces);
}

/** A server that answers each connection in its own way. */
async function rawServer(answer: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("data", () => answer(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ends.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe.each([
  ["plain", undefined],
  ["TLS", serverCertificate({ names: ["127.0.0.1"], wallMs: Date.now() })],
])("byte streams over %s", (_, tls) => {
  test("all bytes come in order, however many there are, and nothing stays open", async () => {
    const { url, open } = await port(tls);
    for (const bytes of [0, 1, 262_144, 5 * MIB + 3]) {
      const got = await fetched(url, `/${bytes}`);
      expect(Buffer.compare(got, Buffer.from(pattern(bytes))), `${bytes} bytes`).toBe(0);
    }
    await until(() => open() === 0);
  });

  test("what cannot be had is refused with its own code; drivers get nothing", async () => {
    const { url } = await port(tls);
    await expect(fetched(url, "/none")).rejects.toMatchObject({ code: "INVALID_STATE" });
    await expect(fetched(url, "/1", "driver-token")).rejects.toMatchObject({ code: "FORBIDDEN" });
  });
});

test("a token that is none gets nothing", async () => {
  const { url } = await port();
  await expect(fetched(url, "/1", "wrong")).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
});

test("a port that gives no bytes refuses, and so does one that speaks another protocol", async () => {
  const listener = await listenWebSocket({ authorize: () => "raylet", onChannel: (channel) => channel.destroy() });
  ends.push(() => listener.close());
  await expect(fetched(listener.url, "/1")).rejects.toMatchObject({ code: "NOT_FOUND" });
  const other = await rawServer((socket) => socket.end("SSH-2.0-x\r\n\r\n"));
  await expect(fetched(other, "/1")).rejects.toMatchObject({ code: "WRONG_PROTOCOL" });
  await expect(fetched("ws://127.0.0.1:1", "/1")).rejects.toMatchObject({ code: "UNREACHABLE" });
});

test("a connection that ends early, stalls, or brings too much is an error; what came was given", async () => {
  const head = "HTTP/1.1 101 Switching Protocols\r\nWhipray-Bytes: 10\r\n\r\n";
  const broken = { code: "LINK_BROKEN", retryable: true };
  let got = 0;
  const take = (bytes: Uint8Array): void => {
    got += bytes.length;
  };
  const early = await rawServer((socket) => socket.end(`${head}12345`));
  await expect(quickFetcher("t").fetch(early, "/x", take)).rejects.toMatchObject(broken);
  expect(got).toBe(5);
  const silent = await rawServer((socket) => socket.write(`${head}12345`));
  await expect(quickFetcher("t", SOON_MS).fetch(silent, "/x", take)).rejects.toMatchObject(broken);
  const more = await rawServer((socket) => socket.write(`${head}12345678901`));
  await expect(quickFetcher("t").fetch(more, "/x", take)).rejects.toMatchObject({ code: "WRONG_PROTOCOL" });
});

test("who does not want it any more ends it, and the other side lets go", async () => {
  const { url, open } = await port();
  const stop = new AbortController();
  const reason = new WhiprayError({ code: "NODE_DIED", message: "gone" });
  const fetching = byteFetcher("raylet-token").fetch(url, "/much", () => stop.abort(reason), stop.signal);
  await expect(fetching).rejects.toMatchObject({ code: "NODE_DIED" });
  await until(() => open() === 0);
});

test("a reader that stands still is given up", async () => {
  const { promise: done, resolve } = Promise.withResolvers<void>();
  const url = await rawServer((socket) => {
    void sendBytes(socket, { memory: MUCH, done: resolve }, SOON_MS);
  });
  const reader = connect(Number(new URL(url).port), "127.0.0.1");
  ends.push(() => reader.destroy());
  reader.on("error", () => {});
  await once(reader, "connect");
  reader.write("GET / HTTP/1.1\r\n\r\n");
  await done;
});

test("BYTE_STREAMS_LIMIT streams at once, the next one is told to come later", async () => {
  const { url, open } = await port();
  const request = "GET /much HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: whipray-bytes\r\n";
  for (let i = 0; i < BYTE_STREAMS_LIMIT; i++) {
    const reader = connect(Number(new URL(url).port), "127.0.0.1");
    ends.push(() => reader.destroy());
    reader.on("error", () => {});
    reader.write(`${request}Authorization: Bearer raylet-token\r\n\r\n`);
  }
  await until(() => open() === BYTE_STREAMS_LIMIT);
  await expect(fetched(url, "/1")).rejects.toMatchObject({ code: "BUSY" });
});
