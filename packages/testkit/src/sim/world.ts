import {
  type Clock,
  type IdSource,
  type Logger,
  type RandomSource,
  type SimulatedClock,
  seededIds,
  seededRandom,
} from "@whipray/core";
import type { History } from "./history.ts";
import { type SimFaults, SimNetwork } from "./sim-network.ts";

/** What the simulated processes of one cluster share. Everything in it repeats with the seed. */
export class World {
  readonly clock: SimulatedClock;
  readonly random: RandomSource;
  readonly ids: IdSource;
  readonly network: SimNetwork;
  readonly history: History;
  readonly logger: Logger;
  readonly clusterId: string;
  /** The raylet that runs there now, by its address. */
  readonly rayletAt: (address: string) => object | undefined;

  constructor(init: {
    seed: number;
    clock: SimulatedClock;
    history: History;
    logger: Logger;
    faults: SimFaults;
    rayletAt: (address: string) => object | undefined;
  }) {
    this.rayletAt = init.rayletAt;
    this.clock = init.clock;
    this.history = init.history;
    this.logger = init.logger;
    this.random = seededRandom(init.seed);
    this.ids = seededIds(seededRandom(init.seed ^ 0x5eed));
    this.network = new SimNetwork(init.clock, seededRandom(init.seed ^ 0xfa17), init.faults);
    this.clusterId = this.ids.next("cluster");
  }

  /** What every part of a process is given. */
  services(process: string, clock: Clock): { clock: Clock; ids: IdSource; random: RandomSource; logger: Logger } {
    return { clock, ids: this.ids, random: this.random, logger: this.logger.child({ process }) };
  }
}
