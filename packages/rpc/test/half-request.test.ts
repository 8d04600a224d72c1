import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { SimulatedClock, silentLogger, type WhiprayError } from "@whipray/core";
import { expect, onTestFinished, test } from "vitest";
import { HANDSHAKE_TIMEOUT_MS, listenUnix, listenWebSocket } from "../src/index.ts";
import { Link } from "../src/link/link.ts";
import { until } from "./frames.ts";
import { helloFrame } from "./raw-client.ts";

// Of its own file: Node's timer for headers knows no other clock, so this one waits for it.
test("B2: half a request, then silence: 408 HANDSHAKE_TIMEOUT, and the connection is closed", {
  timeout: 3 * HANDSHAKE_TIMEOUT_MS,
}, async () => {
  const listener = await listenWebSocket({ onChannel() {}, authorize: () => undefined });
  onTestFinished(() => listener.close());
  const socket = connect(Number(new URL(listener.url).port), "127.0.0.1");
  const startedMs = performance.now();
  socket.write("GET / HTTP/1.1\r\nHost: local");
  const answer = await text(socket);
  expect(answer).toMatch(/^HTTP\/1.1 408 .*HANDSHAKE_TIMEOUT/s);
  // The timers of both sides are not the same one.
  expect(performance.now() - startedMs).toBeGreaterThan(HANDSHAKE_TIMEOUT_MS * 0.9);
  socket.destroy();
});

test("B2: half a HELLO on a unix socket, then silence: closed after 10 s", async () => {
  const folder = await mkdtemp(join(tmpdir(), "wr-"));
  const clock = new SimulatedClock();
  const ends: (WhiprayError | undefined)[] = [];
  let links = 0;
  const listener = await listenUnix(join(folder, "s"), (channel) => {
    links++;
    const self = { address: "head/head", incarnation: "inc_h", role: "head" as const, token: "" };
    const events = { onOpen() {}, onClose: (_link: Link, error?: WhiprayError) => void ends.push(error) };
    Link.accepted({ channel, self, clock, logger: silentLogger, events });
  });
  onTestFinished(async () => {
    await listener.close();
    await rm(folder, { recursive: true });
  });
  const socket = connect(join(folder, "s"));
  socket.on("error", () => {});
  socket.write(helloFrame().subarray(0, 11));
  await until(() => links === 1, "the connection");
  clock.advance(HANDSHAKE_TIMEOUT_MS - 1);
  expect(ends).toEqual([]);
  // Not `once`: bytes that nobody read may reset the connection.
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  clock.advance(1);
  await until(() => ends.length === 1, "the end of the link");
  expect(ends[0]?.code).toBe("HANDSHAKE_TIMEOUT");
  socket.resume();
  await closed;
});
