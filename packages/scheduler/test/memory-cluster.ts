import { delay, GetTimeoutError, type ResourceAmounts, SimulatedClock, WhiprayError } from "@whipray/core";
import type { DeviceGrant, GroupRow, NodeRow, Strategy } from "@whipray/rpc";
import {
  ClusterScheduler,
  type SchedulerCluster,
  type SchedulerGroup,
  type SchedulerOptions,
  type ServerPlacement,
} from "../src/index.ts";
import type { ServerStart } from "../src/server-start.ts";
import { MemoryServer } from "./memory-server.ts";

export interface MemoryNode {
  readonly nodeId: string;
  readonly ip: string;
  readonly cpus: number;
  readonly devices: number;
  readonly resource?: string;
}

interface PlacedGroup extends SchedulerGroup {
  readonly name: string | undefined;
  readonly strategy: Strategy;
  readonly labels: unknown;
  readonly links: unknown;
  readonly places: { nodeId: string; devices: DeviceGrant[]; free: number }[];
  removed: boolean;
}

/** The in-memory twin of a cluster: nodes with CPUs and single devices, first fit, nothing pending is ever placed later. */
export class MemoryCluster implements SchedulerCluster {
  readonly clock = new SimulatedClock();
  readonly groups: PlacedGroup[] = [];
  readonly servers: MemoryServer[] = [];
  /** Makes the n-th server (from 0) fail. */
  failServerAt: number | undefined;
  /** Looks at each server before it is used. */
  onServer: (server: MemoryServer) => void = () => {};
  /** Order in which nodes are filled. */
  fill: (nodes: MemoryNode[]) => MemoryNode[] = (nodes) => nodes;
  readonly #nodes: MemoryNode[];
  readonly #free = new Map<string, { cpus: number; devices: number[] }>();

  constructor(nodes: MemoryNode[] = [{ nodeId: "node_a", ip: "10.0.0.1", cpus: 64, devices: 8 }]) {
    this.#nodes = nodes;
    for (const { nodeId, cpus, devices } of nodes) {
      this.#free.set(nodeId, { cpus, devices: Array.from({ length: devices }, (_, index) => index) });
    }
  }

  scheduler(options: SchedulerOptions = {}): ClusterScheduler {
    return new ClusterScheduler(async () => this, { clock: this.clock, ...options });
  }

  /** What is free of the whole cluster. */
  free(): { cpus: number; devices: number } {
    const all = [...this.#free.values()];
    return {
      cpus: all.reduce((sum, one) => sum + one.cpus, 0),
      devices: all.reduce((sum, one) => sum + one.devices.length, 0),
    };
  }

  async placementGroup(
    bundles: readonly ResourceAmounts[],
    options: { strategy: Strategy; name?: string; labels?: unknown; links?: unknown },
  ): Promise<SchedulerGroup> {
    const places: PlacedGroup["places"] = [];
    for (const bundle of bundles) {
      const device = bundle["GPU"] === undefined ? "NPU" : "GPU";
      const wanted = Math.ceil(bundle[device] ?? 0);
      const node = this.fill([...this.#nodes]).find(({ nodeId, resource = "GPU" }) => {
        const free = this.#free.get(nodeId)!;
        return (
          free.cpus >= (bundle["CPU"] ?? 0) && (wanted === 0 || (resource === device && free.devices.length >= wanted))
        );
      });
      if (!node) break;
      const free = this.#free.get(node.nodeId)!;
      free.cpus -= bundle["CPU"] ?? 0;
      const devices = free.devices.splice(0, wanted).map((index) => {
        return { uuid: `${node.nodeId}-gpu-${index}`, index, resource: device, units: 10_000 };
      });
      places.push({ nodeId: node.nodeId, devices, free: bundle[device] ?? 0 });
    }
    const group: PlacedGroup = {
      id: `pg_${this.groups.length}`,
      name: options.name,
      strategy: options.strategy,
      labels: options.labels,
      links: options.links,
      bundleSpecs: bundles,
      places,
      removed: false,
      ready: async ({ timeoutMs }) => {
        if (places.length === bundles.length) return;
        await delay(this.clock, timeoutMs ?? 0);
        throw new GetTimeoutError({ message: `PENDING after ${timeoutMs} ms: bundle ${places.length}: 1 GPU short` });
      },
      table: async () => {
        const rows = places.map(({ nodeId, devices }, index) => ({ index, units: {}, nodeId, devices }));
        const reasons = bundles.slice(places.length).map((bundle, index) => {
          const possible = this.#nodes.some((node) => node.devices >= (bundle["GPU"] ?? 0));
          return { bundle: places.length + index, kind: possible ? "busy" : "infeasible", text: "1 GPU short" };
        });
        return { pgId: group.id, bundles: rows, reasons } as unknown as GroupRow;
      },
      remove: async () => this.#remove(group),
    };
    this.groups.push(group);
    return group;
  }

  async server(placement: ServerPlacement, start: ServerStart): Promise<MemoryServer> {
    if (this.failServerAt === this.servers.length)
      throw new WhiprayError({ code: "UNSCHEDULABLE", message: "no room for the actor" });
    const group = this.groups.find((one) => one.id === placement.groupId)!;
    const place = group.places[placement.bundleIndex]!;
    if (place.free + 1e-9 < placement.devices)
      throw new WhiprayError({ code: "UNSCHEDULABLE", message: "bundle is full" });
    place.free -= placement.devices;
    const node = this.#nodes.find((one) => one.nodeId === place.nodeId)!;
    const devices = place.devices.slice(0, Math.ceil(placement.devices));
    const server = new MemoryServer(placement, start, {
      nodeId: node.nodeId,
      ip: node.ip,
      devices,
      clock: this.clock,
      find: (name) => this.servers.findLast((one) => one.placement.name === name)!,
      onEnd: () => {
        place.free += placement.devices;
      },
    });
    this.servers.push(server);
    this.onServer(server);
    return server;
  }

  async nodes(): Promise<NodeRow[]> {
    return this.#nodes.map(({ nodeId, ip, cpus, devices, resource = "GPU" }) => {
      const all = Array.from({ length: devices }, (_, index) => ({ uuid: `${nodeId}-gpu-${index}`, index, resource }));
      return {
        nodeId,
        ip,
        name: nodeId,
        state: "ALIVE",
        total: { CPU: cpus * 10_000 },
        devices: all,
      } as unknown as NodeRow;
    });
  }

  /** Servers that still run. */
  alive(): MemoryServer[] {
    return this.servers.filter((server) => !server.death);
  }

  serverOf(workerId: string): MemoryServer {
    return this.servers.findLast((server) => server.start.workerId === workerId)!;
  }

  /** Lets `work` finish while simulated time passes. */
  async run<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    const watched = work.finally(() => {
      settled = true;
    });
    watched.catch(() => {});
    for (let step = 0; !settled && step < 10_000; step++) {
      await this.clock.run(0);
      if (!settled) this.clock.step();
    }
    return watched;
  }

  #remove(group: PlacedGroup): void {
    if (group.removed) return;
    group.removed = true;
    for (const server of this.servers)
      if (server.placement.groupId === group.id) server.end({ message: "its placement group was removed" });
    for (const [index, { nodeId, devices }] of group.places.entries()) {
      const free = this.#free.get(nodeId)!;
      free.cpus += group.bundleSpecs[index]?.["CPU"] ?? 0;
      free.devices.push(...devices.map((device) => device.index));
      free.devices.sort((left, right) => left - right);
    }
  }
}
