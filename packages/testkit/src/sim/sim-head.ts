import { delay, WhiprayError } from "@whipray/core";
import { Head, type HeadOptions, type MemoryDisk, MemoryStore, type NodeProber, type ProbeAnswer } from "@whipray/head";
import { type Listener, WireEndpoint } from "@whipray/rpc";
import { ProcessClock } from "./process-clock.ts";
import type { World } from "./world.ts";

export const HEAD_URL = "memory:head";
/** What one sync of the journal takes, at most, on a healthy disk. */
export const SYNC_MS = 2;

/** The head's process: the real `Head` on a disk in memory, wired as `startHeadNode` does it. */
export class SimHead {
  readonly disk: MemoryDisk = new Map();
  /** What one sync takes at most (reliability F10). */
  syncMs = SYNC_MS;
  /** Every write is refused (F8). */
  diskFull = false;
  readonly #world: World;
  readonly #look: (url: string | undefined) => ProbeAnswer;
  readonly #options: HeadOptions;
  #running: { head: Head; clock: ProcessClock; endpoint: WireEndpoint; listener: Listener | undefined } | undefined;

  /** `look` finds out what a knock at a raylet's port would. */
  constructor(world: World, look: (url: string | undefined) => ProbeAnswer, options: HeadOptions = {}) {
    this.#world = world;
    this.#options = options;
    this.#look = look;
  }

  /** The head that runs now. */
  get head(): Head | undefined {
    return this.#running?.head;
  }

  get alive(): boolean {
    return this.#running?.listener !== undefined;
  }

  /** Settles when it listens; never when it is killed before. The clock must run meanwhile. */
  async start(): Promise<void> {
    if (this.#running) throw new Error("the head runs");
    const { network, clusterId } = this.#world;
    const clock = new ProcessClock(this.#world.clock);
    const services = this.#world.services("head", clock);
    const endpoint = new WireEndpoint({
      ...services,
      address: "head/head",
      role: "head",
      token: "",
      cluster: clusterId,
      pid: 1,
      transport: network.at("head", clock),
      admit: () => {},
      route: (to) => {
        const node = to.slice(0, to.indexOf("/"));
        return { accepted: node === "head" ? to : `${node}/raylet` };
      },
      onLinkLost: ({ role, address, purpose }) => {
        if (purpose !== "control" || clock.killed) return;
        if (role === "raylet") head.linkLost(address.slice(0, address.indexOf("/")));
        else if (role === "driver") head.driverLinkLost(address);
      },
    });
    // A kill between the two leaves what is stored and was never acknowledged.
    const sync = (): Promise<void> => delay(clock, this.#world.random.next() * (this.syncMs / 2));
    const room = async (): Promise<void> => {
      await sync();
      if (!this.diskFull) return;
      throw new WhiprayError({ code: "STORAGE_FULL", message: "the simulated disk is full", retryable: true });
    };
    const store = new MemoryStore(this.disk, { before: room, after: sync });
    const prober: NodeProber = { probe: async ({ url }) => this.#look(url) };
    const head = new Head({ ...services, endpoint, store, options: { ...this.#options, clusterId, prober } });
    const running = { head, clock, endpoint, listener: undefined as Listener | undefined };
    this.#running = running;
    await head.start();
    if (!clock.killed) running.listener = network.listen("head", "head", (channel) => endpoint.accept(channel));
  }

  /** SIGKILL: nothing of it is written, sent or answered any more. */
  kill(): void {
    const running = this.#running;
    if (!running) return;
    this.#running = undefined;
    running.clock.kill();
    void running.listener?.close();
    this.#world.network.cut((host) => host === "head");
    this.#world.history.headKilled();
  }

  /** A new head on the same disk. */
  async restart(): Promise<void> {
    this.kill();
    await this.start();
  }
}
