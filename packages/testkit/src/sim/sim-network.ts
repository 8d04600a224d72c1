import type { Clock, RandomSource } from "@whipray/core";
import { type Channel, type Listener, MemoryNetwork, type Transport } from "@whipray/rpc";
import type { ProcessClock } from "./process-clock.ts";

/** What the network of a simulation does to every frame, by chance. Times in milliseconds. */
export interface SimFaults {
  /** Between machines; inside one, frames take at most `LOCAL_DELAY_MS`. Defaults 0.2 and 2. */
  readonly minDelayMs?: number;
  readonly maxDelayMs?: number;
  /** Chance that a frame between machines is lost, and its connection with it. Default 0. */
  readonly cutProbability?: number;
}

/** What a frame inside a machine takes at most. */
export const LOCAL_DELAY_MS = 0.1;

/** The machine of a host. A host is one process, `machine` or `machine/process`. */
export function machineOf(host: string): string {
  const slash = host.indexOf("/");
  return slash < 0 ? host : host.slice(0, slash);
}

/** The network of a simulated cluster: machines that can be parted, and processes that can be stopped or killed. */
export class SimNetwork {
  readonly #memory: MemoryNetwork;
  readonly #clock: Clock;
  /** Ways that are lost, and processes that are stopped, with the time since when. */
  readonly #since = new Map<string, number>();
  #brokenMs = 0;
  #quiet = false;
  readonly #lost = new Set<string>();
  readonly #dark = new Set<string>();
  readonly #stopped = new Set<string>();

  constructor(clock: Clock, random: RandomSource, faults: SimFaults) {
    this.#clock = clock;
    const { minDelayMs = 0.2, maxDelayMs = 2, cutProbability = 0 } = faults;
    this.#memory = new MemoryNetwork(clock, {
      delayMs: (from, to) =>
        machineOf(from) === machineOf(to)
          ? random.next() * LOCAL_DELAY_MS
          : minDelayMs + random.next() * (maxDelayMs - minDelayMs),
      cut: (from, to) =>
        cutProbability > 0 && !this.#quiet && machineOf(from) !== machineOf(to) && random.next() < cutProbability,
    });
  }

  /** The transport of a process. A connection that is ready after its death was never made. */
  at(host: string, clock: ProcessClock): Transport {
    const transport = this.#memory.at(host);
    return {
      dial: async (url, options) => {
        // A socket of the machine is found by its path.
        const channel = await transport.dial(url.replace(/^unix:/, "memory:"), options);
        if (!clock.killed) return channel;
        channel.destroy();
        return new Promise<never>(() => {});
      },
    };
  }

  listen(name: string, host: string, onChannel: (channel: Channel) => void): Listener {
    return this.#memory.listen(name, onChannel, host);
  }

  /** What one machine sends to the other does not arrive until `heal`; the other way is open. */
  lose(from: string, to: string): void {
    this.#lost.add(`${from}>${to}`);
    this.#broke(`${from}>${to}`);
    this.#apply();
  }

  /** Both ways. */
  part(one: string, other: string): void {
    this.lose(one, other);
    this.lose(other, one);
  }

  /** Ends what `lose` and `part` did, for one machine or for all. What was under way arrives, in order. */
  heal(machine?: string): void {
    for (const way of this.#lost) {
      if (machine !== undefined && !way.split(">").includes(machine)) continue;
      this.#lost.delete(way);
      this.#mended(way);
    }
    this.#apply();
  }

  /** No connection breaks by chance any more. */
  quieten(): void {
    this.#quiet = true;
    this.heal();
  }

  /** A machine without power or cable: nobody hears of it, nothing is refused. */
  darken(machine: string): void {
    this.#dark.add(machine);
    this.#apply();
  }

  /** The machine is back; connections of its former life are dead. */
  lighten(machine: string): void {
    this.cut((host) => machineOf(host) === machine);
    this.#dark.delete(machine);
    this.#apply();
  }

  /** A process that was stopped: it sends nothing, and what is sent to it waits in its sockets. */
  stop(host: string): void {
    this.#stopped.add(host);
    this.#broke(host);
    this.#apply();
  }

  resume(host: string): void {
    this.#stopped.delete(host);
    this.#mended(host);
    this.#apply();
  }

  /** Breaks every connection with an end at such a host. */
  cut(chosen: (host: string) => boolean): void {
    this.#memory.cut((from, to) => chosen(from) || chosen(to));
  }

  /** Breaks the connections between two machines. */
  cutBetween(one: string, other: string): void {
    const pair = [one, other].sort().join();
    this.#memory.cut((from, to) => [machineOf(from), machineOf(to)].sort().join() === pair);
  }

  /** How long ways were lost and processes stopped, added up. */
  get brokenMs(): number {
    const nowMs = this.#clock.now();
    return [...this.#since.values()].reduce((sum, sinceMs) => sum + nowMs - sinceMs, this.#brokenMs);
  }

  #broke(what: string): void {
    if (!this.#since.has(what)) this.#since.set(what, this.#clock.now());
  }

  #mended(what: string): void {
    this.#brokenMs += this.#clock.now() - (this.#since.get(what) ?? this.#clock.now());
    this.#since.delete(what);
  }

  /** Whether a frame from one host would arrive at the other now. */
  open(from: string, to: string): boolean {
    if (this.#stopped.has(to) || this.#stopped.has(from)) return false;
    const [left, right] = [machineOf(from), machineOf(to)];
    if (left === right) return true;
    return !this.#dark.has(left) && !this.#dark.has(right) && !this.#lost.has(`${left}>${right}`);
  }

  #apply(): void {
    this.#memory.partition((from, to) => !this.open(from, to));
  }
}
