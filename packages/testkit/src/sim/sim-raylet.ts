import { toUnits, UNITS_PER_ONE } from "@whipray/core";
import type { ProbeAnswer } from "@whipray/head";
import { DEFAULT_LIMITS, MemorySegments, NodeStore } from "@whipray/objects";
import {
  BeatLoop,
  type Beats,
  MemoryGuards,
  MemoryLogs,
  MemoryPortStore,
  MemoryProcesses,
  type NodeDevice,
  Ports,
  Raylet,
} from "@whipray/raylet";
import { type Listener, WireEndpoint } from "@whipray/rpc";
import type { NodeSnapshot } from "./invariants.ts";
import type { StoreSeen } from "./object-rules.ts";
import { ProcessClock } from "./process-clock.ts";
import { SimDisk } from "./sim-disk.ts";
import { HEAD_URL } from "./sim-head.ts";
import { SimWorker } from "./sim-worker.ts";
import type { World } from "./world.ts";

export interface SimRayletSpec {
  /** What the node has, as people write it: `{ CPU: 4, GPU: 2 }`. GPUs become devices. */
  readonly resources: Readonly<Record<string, number>>;
  /** Of its object store: memory, and spill files. Defaults 1 MiB and 4 MiB. */
  readonly storeBytes?: number;
  readonly spillBytes?: number;
}

interface RayletProcess {
  readonly raylet: Raylet;
  readonly clock: ProcessClock;
  readonly processes: MemoryProcesses;
  readonly listener: Listener;
  readonly store: NodeStore;
  readonly segments: MemorySegments;
  readonly disk: SimDisk;
}

const MIB = 1_048_576;

/** A machine with a raylet: the real `Raylet` on parts in memory, wired as `startRayletNode` does it. */
export class SimRaylet {
  readonly machine: string;
  readonly nodeId: string;
  readonly url: string;
  /** What it has, in units. */
  readonly total: Readonly<Record<string, number>>;
  readonly devices: readonly NodeDevice[];
  /** Every worker process that it ever started. */
  readonly workers: SimWorker[] = [];
  /** Renewal verdicts that its beats came to, with the time. */
  readonly verdicts: { atMs: number; state: string; fence?: string | undefined }[] = [];
  readonly #world: World;
  readonly #spec: SimRayletSpec;
  readonly #ports = new MemoryPortStore({ first: 10_000, last: 11_999 });
  #running: RayletProcess | undefined;
  #power = true;
  #stopped = false;

  constructor(world: World, machine: string, spec: SimRayletSpec) {
    this.#world = world;
    this.#spec = spec;
    this.machine = machine;
    this.nodeId = world.ids.next("node");
    this.url = `memory:${machine}`;
    this.total = toUnits(spec.resources, "resources of a simulated node");
    const gpus = (this.total["GPU"] ?? 0) / UNITS_PER_ONE;
    this.devices = Array.from({ length: gpus }, (_, index): NodeDevice => {
      const uuid = `GPU-${machine}-${index}`;
      const fixed = { resource: "GPU", vendor: "sim", model: "sim", health: "ok" as const };
      return { uuid, index, ...fixed, lockPath: `/locks/${uuid}` };
    });
  }

  /** The raylet that runs now. */
  get raylet(): Raylet | undefined {
    return this.#running?.raylet;
  }

  get alive(): boolean {
    return this.#running !== undefined;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  get liveWorkers(): SimWorker[] {
    return this.workers.filter((worker) => worker.running);
  }

  /** What it says of itself; undefined while none runs. */
  look(): NodeSnapshot | undefined {
    const { nodeId, total, raylet } = this;
    if (!raylet) return undefined;
    const { view, bundles, actors } = raylet.describe();
    return { nodeId, total, view, bundles, actors, leases: raylet.counts.actors, tasks: raylet.counts.tasks };
  }

  /** Its object store; undefined while none runs, and before the first object. */
  lookAtStore(): StoreSeen | undefined {
    const { store, segments, disk } = this.#running ?? {};
    if (!store || !segments || !disk || (segments.count === 0 && store.stats.objects === 0)) return undefined;
    const { usedBytes, pooledBytes } = store.stats;
    const { nodeId } = this;
    const objects = () => Array.from(store.rows(), ({ id, owner, state }) => `${id} of ${owner}, ${state}`);
    const sizes = { capacityBytes: store.capacityBytes, usedBytes, pooledBytes, segmentBytes: segments.bytes };
    return { nodeId, ...sizes, objects, files: () => disk.objects };
  }

  /** Where processes of this machine map its objects. */
  get mapper(): MemorySegments {
    return this.#running!.segments;
  }

  get store(): NodeStore | undefined {
    return this.#running?.store;
  }

  get disk(): SimDisk | undefined {
    return this.#running?.disk;
  }

  /** Settles when it is registered; never when it is killed before. The clock must run meanwhile. */
  async start(): Promise<void> {
    if (this.#running) throw new Error(`${this.machine} has a raylet`);
    const { network, clusterId } = this.#world;
    if (!this.#power) network.lighten(this.machine);
    this.#power = true;
    const { machine, nodeId } = this;
    const clock = new ProcessClock(this.#world.clock);
    const services = this.#world.services(this.machine, clock);
    const transport = network.at(machine, clock);
    const link = { role: "raylet", token: "", cluster: clusterId, pid: 1, transport } as const;
    const endpoint = new WireEndpoint({
      ...services,
      ...link,
      address: `${nodeId}/raylet`,
      admit: () => {},
      route: (to) => {
        if (!to.startsWith(`${nodeId}/`)) return { url: HEAD_URL };
        const socket = raylet.socketOf(to);
        return socket === undefined ? { accepted: to } : { url: `memory:${socket}` };
      },
    });
    const processes = new MemoryProcesses((child) => {
      this.workers.push(new SimWorker(this.#world, this, child));
    });
    const { incarnation } = endpoint;
    const segments = new MemorySegments();
    const disk = new SimDisk(clock, services.random);
    const { storeBytes: capacityBytes = MIB, spillBytes: diskBytes = 4 * MIB } = this.#spec;
    const limits = { ...DEFAULT_LIMITS, capacityBytes, diskBytes };
    const store = new NodeStore({ limits, segments, spill: disk, clock, logger: services.logger });
    const raylet = new Raylet(
      {
        ...{ ...services, endpoint, processes, guards: new MemoryGuards(), logs: new MemoryLogs() },
        beats: this.#beats(clock, new WireEndpoint({ ...services, ...link, address: `${nodeId}/beats` })),
        ports: new Ports({ store: this.#ports, probe: async () => true, random: services.random, raylet: incarnation }),
        objects: async () => store,
        secrets: { write: async (name) => `/secret/${name}`, remove: async () => {} },
        visibility: { variables: () => ({}), overridden: () => [], reserved: () => [], untouched: () => [] },
      },
      {
        node: {
          ...{ cluster: clusterId, nodeId, incarnation, name: machine, hostname: machine, ip: "10.0.0.1" },
          ...{ url: this.url, pid: 1, version: "0.1.0", labels: {}, devices: this.devices },
          scalars: Object.fromEntries(Object.entries(this.total).filter(([name]) => name !== "GPU")),
        },
        ...{ headUrl: HEAD_URL, workerEntry: "/worker", nodePath: "/node", workerTokenFile: "/token" },
        ...{ rayletSocket: machine, workerSocket: (workerId) => `${machine}/${workerId}`, cwd: "/", env: {} },
        cacheDirectory: "/cache",
      },
    );
    const listener = network.listen(machine, machine, (channel) => endpoint.accept(channel));
    this.#running = { raylet, clock, processes, listener, store, segments, disk };
    endpoint.connect({ to: "head/head", url: HEAD_URL, purpose: "data", restarts: true });
    await raylet.start();
  }

  /** As `threadedBeats`: an endpoint of their own. */
  #beats(clock: ProcessClock, endpoint: WireEndpoint): Beats {
    const { random, logger } = this.#world.services(`${this.machine} beats`, clock);
    const loop = new BeatLoop({ endpoint, headUrl: HEAD_URL, nodeId: this.nodeId, clock, random, logger });
    return {
      listen: (listener) =>
        loop.listen({
          onTurn: (turn) => {
            this.verdicts.push({ atMs: clock.now(), state: turn.state, fence: turn.fence });
            listener.onTurn(turn);
          },
          onRefused: () => listener.onRefused(),
        }),
      registered: (terms) => loop.registered(terms),
      answer: () => loop.answer(),
      close: async () => {
        await loop.close();
        await endpoint.close();
      },
    };
  }

  /** SIGKILL of the raylet: its workers die with it, connections to it are refused. */
  kill(): void {
    const running = this.#running;
    if (!running) return;
    this.#running = undefined;
    running.clock.kill();
    void running.listener.close();
    for (const child of running.processes.children) child.kill("SIGKILL");
    this.#world.network.cut((host) => host === this.machine);
    this.#world.network.resume(this.machine);
    this.#stopped = false;
  }

  /** The machine loses its power: as `kill`, but nobody is told, and nothing answers there any more. */
  powerOff(): void {
    this.#power = false;
    this.#world.network.darken(this.machine);
    const running = this.#running;
    this.#running = undefined;
    running?.clock.kill();
    void running?.listener.close();
    for (const child of running?.processes.children ?? []) child.kill("SIGKILL");
    this.#world.network.resume(this.machine);
    this.#stopped = false;
  }

  /** A new raylet with the same node id. */
  async restart(): Promise<void> {
    this.kill();
    await this.start();
  }

  /** SIGSTOP of the raylet; its workers go on. */
  pause(): void {
    if (!this.#running || this.#stopped) return;
    this.#stopped = true;
    this.#running.clock.stop();
    this.#world.network.stop(this.machine);
  }

  resume(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#running?.clock.resume();
    this.#world.network.resume(this.machine);
  }

  /** What a knock from the head at its port finds. */
  knock(): ProbeAnswer {
    const { network } = this.#world;
    const [there, back] = [network.open("head", `${this.machine}/port`), network.open(`${this.machine}/port`, "head")];
    if (!there || !back) return "unknown";
    return this.#running ? "there" : "gone";
  }
}
