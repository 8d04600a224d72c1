import { type Clock, type RandomSource, WhiprayError } from "@whipray/core";
import { DIAL_TIMEOUT_MS, invalidAddress } from "./dialing.ts";
import { MemoryChannel } from "./memory-channel.ts";
import type { Channel, DialOptions, Listener, Transport } from "./transport.ts";

/** What goes wrong on a simulated network. Asked for every frame; both names are hosts given to `MemoryNetwork.at`. */
export interface MemoryFaults {
  /** How long a frame or a connection takes from one host to another. Order within a connection is kept. */
  delayMs?(from: string, to: string): number;
  /** The frame is lost, and with it the connection: a byte stream never goes on behind a hole. */
  cut?(from: string, to: string): boolean;
}

/** Faults that repeat with the seed of `random`. */
export function seededFaults(
  random: RandomSource,
  {
    minDelayMs = 0,
    maxDelayMs = 0,
    cutProbability = 0,
  }: { minDelayMs?: number; maxDelayMs?: number; cutProbability?: number },
): MemoryFaults {
  return {
    delayMs: () => minDelayMs + random.next() * (maxDelayMs - minDelayMs),
    cut: () => random.next() < cutProbability,
  };
}

/** The in-memory twin of the real transports: connections inside one process, with the faults of a network. */
export class MemoryNetwork {
  readonly #clock: Clock;
  readonly #faults: MemoryFaults;
  readonly #listeners = new Map<string, { host: string; onChannel: (channel: Channel) => void }>();
  readonly #channels = new Set<MemoryChannel>();
  #blocked: (from: string, to: string) => boolean = () => false;

  constructor(clock: Clock, faults: MemoryFaults = {}) {
    this.#clock = clock;
    this.#faults = faults;
  }

  /**
   * Listens on `memory:name`, on a host of the same name unless another is given.
   *
   * @throws WhiprayError `ADDRESS_IN_USE`.
   */
  listen(name: string, onChannel: (channel: Channel) => void, host = name): Listener {
    const url = `memory:${name}`;
    if (this.#listeners.has(url)) {
      throw new WhiprayError({ code: "ADDRESS_IN_USE", message: `Somebody listens on ${url}`, details: { url } });
    }
    const entry = { host, onChannel };
    this.#listeners.set(url, entry);
    return {
      url,
      close: async () => {
        if (this.#listeners.get(url) === entry) this.#listeners.delete(url);
      },
    };
  }

  /** The transport of one host: its connections come from there. */
  at(host: string): Transport {
    return { dial: (url, options) => this.#dial(host, url, options) };
  }

  /** Frames from one host to another stay under way while `blocked` says so: one way, or both, as it likes. */
  partition(blocked: (from: string, to: string) => boolean): void {
    this.#blocked = blocked;
    this.#release();
  }

  /** Ends the partition: what was under way arrives, in order, as TCP would send it again. */
  heal(): void {
    this.partition(() => false);
  }

  /** Cuts the connections between the hosts that `chosen` names; what is under way is lost. Both sides learn it at once. */
  cut(chosen: (from: string, to: string) => boolean): void {
    for (const channel of [...this.#channels]) {
      if (chosen(channel.from, channel.to)) channel.cut();
    }
  }

  #release(): void {
    for (const channel of [...this.#channels]) channel.release();
  }

  async #dial(from: string, url: string, options: DialOptions = {}): Promise<Channel> {
    if (!/^memory:./.test(url)) throw invalidAddress(url, "must be memory:name");
    const { timeoutMs = DIAL_TIMEOUT_MS, signal } = options;
    const host = this.#listeners.get(url)?.host;
    // A lost first packet is no refusal: the dialer waits until its deadline.
    const lost = host !== undefined && (this.#blocked(from, host) || this.#blocked(host, from));
    const tripMs = lost ? Number.POSITIVE_INFINITY : host === undefined ? 0 : 2 * this.#delayMs(from, host);
    await this.#wait(Math.min(tripMs, timeoutMs), signal);
    const listener = this.#listeners.get(url);
    const failed = signal?.aborted
      ? (["CANCELLED", "it was cancelled"] as const)
      : tripMs > timeoutMs
        ? (["TIMEOUT", `no answer within ${timeoutMs} ms`] as const)
        : (["UNREACHABLE", "nobody listens there"] as const);
    if (listener === undefined || failed[0] !== "UNREACHABLE") {
      const retryable = failed[0] !== "CANCELLED";
      throw new WhiprayError({
        code: failed[0],
        message: `Cannot connect to ${url}: ${failed[1]}`,
        retryable,
        details: { url },
      });
    }
    const near = this.#pair(from, listener.host);
    listener.onChannel(near.other);
    return near;
  }

  #wait(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    if (delayMs === 0 || signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#clock.after(delayMs, done);
      function done(): void {
        timer.cancel();
        signal?.removeEventListener("abort", done);
        resolve();
      }
      signal?.addEventListener("abort", done);
    });
  }

  #pair(from: string, to: string): MemoryChannel {
    const path = {
      clock: this.#clock,
      delayMs: (a: string, b: string) => this.#delayMs(a, b),
      blocked: (a: string, b: string) => this.#blocked(a, b),
      cut: (a: string, b: string) => this.#faults.cut?.(a, b) ?? false,
      forget: (channel: MemoryChannel) => void this.#channels.delete(channel),
    };
    const near = new MemoryChannel(from, to, path);
    const far = new MemoryChannel(to, from, path);
    near.join(far);
    far.join(near);
    this.#channels.add(near);
    this.#channels.add(far);
    return near;
  }

  #delayMs(from: string, to: string): number {
    return this.#faults.delayMs?.(from, to) ?? 0;
  }
}
