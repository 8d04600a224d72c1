import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@whipray/core";
import { WebSocket } from "ws";
import {
  type Channel,
  dialTransport,
  type Listener,
  listenUnix,
  listenWebSocket,
  MemoryNetwork,
  type ServerCertificate,
  type Transport,
  withoutPin,
  withPin,
} from "../src/index.ts";
import { serverCertificate } from "../src/tls/certificate.ts";

/** One kind of transport as the contract test uses it. */
export interface Bench {
  listen(onChannel: (channel: Channel) => void): Promise<Listener>;
  transport: Transport;
  token: string;
  /** A connection that sends whatever it likes, for bad bytes; undefined where there is no such thing. */
  rawSend?: (listener: Listener, bytes: Uint8Array) => Promise<() => void>;
  /** An address where nobody listens. */
  nobody: string;
  cleanUp(): void;
}

function unix(): Bench {
  const directory = mkdtempSync(join(tmpdir(), "whipray-rpc-"));
  return {
    listen: (onChannel) => listenUnix(join(directory, "s.sock"), onChannel),
    transport: dialTransport(),
    token: "t",
    async rawSend(listener, bytes) {
      const socket = connect(listener.url.slice("unix:".length));
      socket.on("error", () => {});
      await new Promise((resolve) => socket.write(bytes, resolve));
      return () => socket.destroy();
    },
    nobody: `unix:${join(directory, "nobody.sock")}`,
    cleanUp: () => rmSync(directory, { recursive: true, force: true }),
  };
}

function webSocket(tls?: ServerCertificate): Bench {
  return {
    async listen(onChannel) {
      const authorize = (token: string): "raylet" | undefined => (token === "secret" ? "raylet" : undefined);
      const listener = await listenWebSocket({ tls, onChannel, authorize });
      return tls ? { ...listener, url: withPin(listener.url, tls.pin) } : listener;
    },
    transport: dialTransport(),
    token: "secret",
    async rawSend(listener, bytes) {
      const headers = { authorization: "Bearer secret" };
      const socket = new WebSocket(withoutPin(listener.url), { headers, rejectUnauthorized: false });
      socket.on("error", () => {});
      await new Promise((resolve) => socket.once("open", resolve));
      await new Promise((resolve) => socket.send(bytes, resolve));
      return () => socket.terminate();
    },
    nobody: tls ? withPin("wss://127.0.0.1:1", tls.pin) : "ws://127.0.0.1:1",
    cleanUp: () => {},
  };
}

function memory(): Bench {
  const network = new MemoryNetwork(systemClock);
  return {
    listen: async (onChannel) => network.listen("server", onChannel),
    transport: dialTransport({ memory: network.at("client") }),
    token: "t",
    async rawSend(listener, bytes) {
      const channel = await network.at("client").dial(listener.url);
      channel.start({ onFrame() {}, onDrain() {}, onClose() {} });
      channel.send([bytes]);
      return () => channel.destroy();
    },
    nobody: "memory:nobody",
    cleanUp: () => {},
  };
}

export const BENCHES: Record<string, () => Bench> = {
  unix,
  websocket: () => webSocket(),
  "websocket with TLS": () => webSocket(serverCertificate({ names: ["127.0.0.1"], wallMs: systemClock.wallMs() })),
  memory,
};
