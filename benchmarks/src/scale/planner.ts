import type { ResourceUnits } from "@whipray/core";
import { ActorTable, GroupTable, NodeTable } from "@whipray/head";
import { Ledger } from "@whipray/raylet";
import type { ActorSpec, GroupCreate } from "@whipray/rpc";

export const DEVICES_PER_NODE = 8;
const CPUS_PER_NODE = 64;
/** A unit of resources. */
const ONE = 10_000;

/** Milliseconds that the decision alone took, and whether it found a place. */
export interface Decision {
  readonly ms: number;
  readonly placed: boolean;
}

/**
 * The head's tables and one raylet's ledger a node, without network, journal and processes: what a table decides is carried out in the
 * ledgers at once, and the table hears of it as the head's would. Only the decision is timed.
 */
export class Planner {
  readonly nodes: NodeTable;
  readonly groups = new GroupTable({ starvationMs: 1e12, epochFloor: 0 });
  readonly actors: ActorTable;
  readonly #ledgers = new Map<string, Ledger>();
  readonly #leases = new Map<string, { nodeId: string; leaseId: string }>();
  #made = 0;
  #nowMs = 0;

  constructor(limit: number) {
    this.nodes = new NodeTable({ headOutageMs: 0, limit });
    this.actors = new ActorTable({ ids: { next: (prefix) => `${prefix}_${++this.#made}` } });
  }

  addNode(): string {
    const at = ++this.#made;
    const nodeId = `node_${at}`;
    const devices = Array.from({ length: DEVICES_PER_NODE }, (_, index) => {
      const [uuid, numaNode] = [`GPU-${at}-${index}`, index >> 2];
      const kind = { resource: "GPU", vendor: "sim", model: "sim", health: "ok" as const };
      return { uuid, index, numaNode, linkDomain: `${numaNode}`, ...kind };
    });
    const scalars = { CPU: CPUS_PER_NODE * ONE, memory: 64e9 + at };
    const ledger = new Ledger({ scalars, devices });
    this.#ledgers.set(nodeId, ledger);
    const host = { name: nodeId, hostname: `host-${at}`, ip: "10.0.0.1", url: `ws://host-${at}:8266`, pid: at };
    const { epoch } = this.nodes.register(
      {
        ...{ nodeId, inc: `inc_${at}`, epoch: 0, ...host, version: "0", devices, labels: { host: host.hostname } },
        ...{ total: { ...scalars, GPU: DEVICES_PER_NODE * ONE }, view: ledger.view(), actors: [], bundles: [] },
      },
      this.#nowMs,
    );
    this.nodes.opened(nodeId, epoch);
    return nodeId;
  }

  /** Makes a group and decides about it. One that finds no place is gone again; `whyMs` is what it took to say why. */
  addGroup(
    strategy: GroupCreate["strategy"],
    bundles: readonly ResourceUnits[],
  ): Decision & { pgId: string; whyMs: number } {
    const { groups, nodes } = this;
    const pgId = `pg_${++this.#made}`;
    const fixed = { pgId, jobId: "job_1", namespace: "bench", strategy, detached: false };
    groups.create({ ...fixed, bundles: bundles.map((units) => ({ ...units })) }, this.#nowMs, 0);
    groups.durable(pgId);
    const startedAt = performance.now();
    const effects = groups.schedule(nodes, this.#nowMs);
    const ms = performance.now() - startedAt;
    for (const effect of effects) {
      if (effect.kind !== "prepare") continue;
      const answer = this.#ledgers.get(effect.nodeId)!.prepare(pgId, effect.epoch, effect.bundles);
      this.#seen(effect.nodeId);
      nodes.unclaim(effect.nodeId, effect.claim);
      groups.prepared(effect, answer.ok ? undefined : answer.reason, this.#nowMs);
    }
    for (const effect of groups.saved(pgId, groups.record(pgId)!.epoch)) {
      if (effect.kind !== "commit") continue;
      const { epoch, nodeId, indices } = effect;
      this.#ledgers.get(nodeId)!.commit(pgId, epoch, indices);
      this.#seen(nodeId);
      groups.committed(pgId, epoch, nodeId, indices, undefined, this.#nowMs);
    }
    const placed = groups.record(pgId)?.state === "CREATED";
    const askedAt = performance.now();
    groups.reasons(pgId, nodes);
    const whyMs = performance.now() - askedAt;
    if (!placed) this.removeGroup(pgId);
    return { ms, placed, pgId, whyMs };
  }

  /** What runs in it must have ended. */
  removeGroup(pgId: string): void {
    for (const effect of this.groups.remove(pgId)) {
      if (effect.kind !== "release") continue;
      const ledger = this.#ledgers.get(effect.nodeId)!;
      ledger.releaseBundles(pgId, ledger.close(pgId, effect.epoch, effect.indices).indices);
      this.#seen(effect.nodeId);
    }
  }

  /** Makes an actor, in a group or not, and decides about it. One that finds no place is gone again. */
  addActor(units: Record<string, number>, pgId?: string): Decision & { actorId: string } {
    const { actors, groups, nodes } = this;
    const actorId = `actor_${++this.#made}`;
    const spec: ActorSpec = {
      ...{ actorId, jobId: "job_1", namespace: "bench", detached: false, className: "Bench", module: "file:///b.ts" },
      ...{ exportName: "Bench", args: [], units, placementUnits: units, bundleIndex: -1, captureChildTasks: false },
      ...{ maxRestarts: 0, maxTaskRetries: 0, maxConcurrency: 1, maxPendingCalls: -1, env: {}, isolation: "env" },
      ...{ graceMs: 0, ...(pgId !== undefined && { pgId }) },
    };
    actors.create(spec, false, groups, this.#nowMs);
    actors.durable(actorId, this.#nowMs);
    const startedAt = performance.now();
    actors.schedule(nodes, groups, this.#nowMs);
    const ms = performance.now() - startedAt;
    for (const effect of actors.saved(actorId, actors.record(actorId)!.epoch)) {
      if (effect.kind !== "start") continue;
      const { nodeId, leaseId, devices, bundleIndex } = effect;
      const place = { units, placementUnits: units, devices, pgId, bundleIndex };
      const answer = this.#ledgers.get(nodeId)!.acquire({ leaseId, ...place });
      const process = { address: `${nodeId}/worker_${actorId}`, inc: `inc_${actorId}`, socket: undefined, pid: 1 };
      const lease = { devices: [...devices], bundleIndex: pgId === undefined ? undefined : bundleIndex };
      const outcome = answer.ok
        ? { kind: "ok" as const, ...process, ...lease }
        : { kind: "refused" as const, reason: answer.reason };
      this.#leases.set(actorId, { nodeId, leaseId });
      actors.started(effect, outcome, nodes, this.#nowMs);
      this.#seen(nodeId);
    }
    const placed = actors.record(actorId)!.state === "ALIVE";
    if (!placed) this.removeActor(actorId);
    return { ms, placed, actorId };
  }

  removeActor(actorId: string): void {
    const cause = { kind: "RAY_KILL" as const, message: "the benchmark needs it no more" };
    this.actors.kill(actorId, cause, true, this.nodes, this.#nowMs);
    const lease = this.#leases.get(actorId);
    if (!lease) return;
    this.#leases.delete(actorId);
    this.#ledgers.get(lease.nodeId)!.release(lease.leaseId);
    this.#seen(lease.nodeId);
  }

  /** What the head does every 250 ms, whatever happens. */
  tick(): number {
    const startedAt = performance.now();
    this.nodes.tick(this.#nowMs);
    this.groups.tick(this.nodes, this.#nowMs);
    this.actors.tick(this.groups, this.#nowMs);
    this.groups.schedule(this.nodes, this.#nowMs);
    this.actors.schedule(this.nodes, this.groups, this.#nowMs);
    return performance.now() - startedAt;
  }

  #seen(nodeId: string): void {
    this.nodes.viewed(nodeId, this.nodes.record(nodeId)!.epoch, this.#ledgers.get(nodeId)!.view());
  }

  /** Only the head's tables are left; nothing can be placed any more. */
  forgetLedgers(): void {
    this.#ledgers.clear();
    this.#leases.clear();
  }
}
