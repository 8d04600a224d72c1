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
  type Transport,
} from "../src/index.ts";

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

function webSocket(): Bench {
  return {
    listen: (onChannel) =>
      listenWebSocket({ onChannel, authorize: (token) => (token === "secret" ? "raylet" : undefined) }),
    transport: dialTransport(),
    token: "secret",
    async rawSend(listener, bytes) {
      const socket = new WebSocket(listener.url, { headers: { authorization: "Bearer secret" } });
      socket.on("error", () => {});
      await new Promise((resolve) => socket.once("open", resolve));
      await new Promise((resolve) => socket.send(bytes, resolve));
      return () => socket.terminate();
    },
    nobody: "ws://127.0.0.1:1",
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

export const BENCHES: Record<string, () => Bench> = { unix, websocket: webSocket, memory };
