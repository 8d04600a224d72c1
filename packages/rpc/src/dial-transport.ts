import { invalidAddress } from "./dialing.ts";
import type { Transport } from "./transport.ts";
import { unixTransport } from "./unix-transport.ts";
import { webSocketTransport } from "./websocket.ts";
import type { WebSocketTransportOptions } from "./websocket-transport.ts";

export interface DialTransportOptions extends WebSocketTransportOptions {
  /** Takes `memory:` addresses; without it they are refused. */
  memory?: Transport | undefined;
}

/** The transport that a process dials with: chosen by the URL's scheme (`unix:`, `ws:`, `wss:`, `memory:`). */
export function dialTransport(options: DialTransportOptions = {}): Transport {
  const webSocket = webSocketTransport(options);
  const schemes = new Map<string, Transport>([
    ["unix", unixTransport],
    ["ws", webSocket],
    ["wss", webSocket],
  ]);
  if (options.memory) schemes.set("memory", options.memory);
  return {
    async dial(url, dialOptions) {
      const transport = schemes.get(url.slice(0, url.indexOf(":")));
      if (!transport) throw invalidAddress(url, `must start with one of ${[...schemes.keys()].join(":, ")}:`);
      return transport.dial(url, dialOptions);
    },
  };
}
