import type { ByteFetcher } from "./bytes/byte-stream.ts";
import type { Listener, Transport } from "./transport.ts";
import type { WebSocketListenOptions } from "./websocket-listener.ts";
import type { WebSocketTransportOptions } from "./websocket-transport.ts";

// ws and Node's HTTP come in when the first WebSocket is needed: a worker that only talks inside its machine starts without them.

/** Dials `ws://host:port` and `wss://host:port`. */
export function webSocketTransport(options: WebSocketTransportOptions = {}): Transport {
  return {
    async dial(url, dialOptions) {
      const real = await import("./websocket-transport.ts");
      return real.webSocketTransport(options).dial(url, dialOptions);
    },
  };
}

/** See websocket-listener.ts. @throws WhiprayError `ADDRESS_IN_USE`, `INVALID_ADDRESS`. */
export async function listenWebSocket(options: WebSocketListenOptions): Promise<Listener> {
  const real = await import("./websocket-listener.ts");
  return real.listenWebSocket(options);
}

/** Fetches bytes with the token of a raylet: see byte-client.io.ts. */
export function byteFetcher(token: string): ByteFetcher {
  return {
    async fetch(...asked) {
      const real = await import("./bytes/byte-client.io.ts");
      return real.byteFetcher(token).fetch(...asked);
    },
  };
}
