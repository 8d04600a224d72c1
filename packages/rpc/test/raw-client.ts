import { type Channel, encodeControl, encodeFrame, KIND, type MemoryNetwork, parseFrame } from "../src/index.ts";
import { Recorder } from "./frames.ts";

/** What a driver says first; `more` adds to it or replaces. */
export function helloFrame(more: Record<string, unknown> = {}): Uint8Array {
  const hello = { magic: "whipray", v: [1, 1], role: "driver", token: "secret", address: "node_a/driver_a" };
  return encodeFrame(
    0,
    KIND.HELLO,
    0,
    0,
    encodeControl({ ...hello, inc: "inc_a", purpose: "data", features: [], ...more }),
  );
}

export function openFrame(route: number, to: string, more: Record<string, unknown> = {}): Uint8Array {
  const open = { to, from: "node_a/driver_a", inc: "inc_a", role: "driver", session: "call_1", rx: 0 };
  return encodeFrame(route, KIND.OPEN, 0, 0, encodeControl({ ...open, purpose: "data", ...more }));
}

/** The other side of a link, by hand: sends whatever frames a test likes and keeps what comes back. */
export class RawClient {
  readonly seen = new Recorder();
  readonly channel: Channel;

  private constructor(channel: Channel) {
    this.channel = channel;
    channel.start(this.seen);
  }

  static async dial(network: MemoryNetwork, name: string): Promise<RawClient> {
    return new RawClient(await network.at("node_a/driver_a").dial(`memory:${name}`));
  }

  send(...frames: Uint8Array[]): void {
    for (const frame of frames) this.channel.send([frame]);
  }

  /** Kinds of all frames that came, in order. */
  get kinds(): number[] {
    return this.seen.frames.map((raw) => parseFrame(raw).kind);
  }

  get ended(): boolean {
    return this.seen.ends.length > 0;
  }
}
