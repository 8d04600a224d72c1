import { randomIds, SimulatedClock, seededIds, seededRandom, silentLogger, systemClock } from "@whipray/core";
import {
  type EndpointOptions,
  type MemoryFaults,
  MemoryNetwork,
  type Peer,
  type Role,
  WireEndpoint,
} from "../src/index.ts";

/** Two or three endpoints on a memory network under a simulated clock. */
export interface Net {
  clock: SimulatedClock;
  network: MemoryNetwork;
  endpoint(address: string, role: Role, options?: Partial<EndpointOptions>): WireEndpoint;
}

export function net(faults: MemoryFaults = {}, seed = 1): Net {
  const clock = new SimulatedClock();
  const network = new MemoryNetwork(clock, faults);
  const random = seededRandom(seed);
  const ids = seededIds(random);
  return {
    clock,
    network,
    endpoint(address, role, options = {}) {
      const endpoint = new WireEndpoint({
        address,
        role,
        token: "secret",
        clock,
        ids,
        random,
        logger: silentLogger,
        transport: network.at(address),
        admit: () => {},
        ...options,
      });
      network.listen(address, (channel) => endpoint.accept(channel));
      return endpoint;
    },
  };
}

/** Runs the clock until the promise settles, or fails after `limitMs` of simulated time. */
export async function run<T>(clock: SimulatedClock, promise: Promise<T>, limitMs = 120_000): Promise<T> {
  let settled = false;
  const outcome = promise.finally(() => {
    settled = true;
  });
  outcome.catch(() => {});
  for (let spent = 0; !settled; spent += 5) {
    if (spent > limitMs) throw new Error(`nothing after ${limitMs} simulated ms`);
    await clock.run(5);
  }
  return outcome;
}

export function to(address: string): { to: string; url: string; purpose: "data" } {
  return { to: address, url: `memory:${address}`, purpose: "data" };
}

export const text = (value: string): Uint8Array[] => [new TextEncoder().encode(value)];
export const readText = (parts: readonly Uint8Array[]): string => new TextDecoder().decode(parts[0]);

/** Echoes every call and counts how often each ran. */
export function countingEcho(endpoint: WireEndpoint): Map<string, number> {
  const runs = new Map<string, number>();
  endpoint.onCall((call) => {
    const key = `${call.method} ${readText(call.parts)}`;
    runs.set(key, (runs.get(key) ?? 0) + 1);
    call.reply(call.parts);
  });
  return runs;
}

export { type Peer, randomIds, systemClock };
