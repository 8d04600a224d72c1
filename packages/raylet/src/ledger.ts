import {
  DeviceTopology,
  type LinkMatrix,
  type LinkRule,
  type ResourceUnits,
  showAmount,
  UNITS_PER_ONE,
  type Units,
  WhiprayError,
} from "@whipray/core";
import type { BundleAsk, DeviceGrant, DeviceInfo, NodeView, RunningBundle, Withheld } from "@whipray/rpc";
import { type Bundle, bundleKey, LedgerBundles } from "./ledger-bundles.ts";
import { ResourcePool } from "./resource-pool.ts";
import { WithheldDevices, type WithheldKind } from "./withheld.ts";

/** What a node has, counted once at its start. */
export interface NodeTotals {
  /** CPU, memory and custom resources; nothing that exists as single devices. */
  readonly scalars: ResourceUnits;
  readonly devices: readonly DeviceInfo[];
  /** How the devices reach each other. */
  readonly links?: LinkMatrix | undefined;
}

/** A request for resources of an actor. */
export interface LeaseAsk {
  readonly leaseId: string;
  /** Held until `release`. */
  readonly units: ResourceUnits;
  /** Must be free at this moment, but are not held (Ray: an actor that asked for nothing needs 1 CPU to be placed). */
  readonly placementUnits: ResourceUnits;
  /** What the head proposes; for a resource without a proposal the ledger chooses. */
  readonly devices: readonly DeviceGrant[];
  /** How near the devices must be to each other. Default `ANY`. */
  readonly links?: LinkRule | undefined;
  /** Leaves what is held for placement groups (`hold`). Default false. */
  readonly yields?: boolean | undefined;
  /** Inside this group's bundle. */
  readonly pgId?: string | undefined;
  /** −1 is the first bundle of the group that holds the whole demand. */
  readonly bundleIndex: number;
}

export interface Lease {
  readonly leaseId: string;
  readonly units: ResourceUnits;
  readonly devices: readonly DeviceGrant[];
  readonly pgId?: string;
  readonly bundleIndex?: number;
}

export type LeaseAnswer = { ok: true; lease: Lease } | { ok: false; reason: string };
export type PrepareAnswer = { ok: true } | { ok: false; reason: string };

/**
 * What this node has and who holds it. The head proposes, the ledger confirms or refuses with a reason (design.md,
 * mechanism 4): nothing of this node is granted by anybody else. Every method is all or nothing. Pure.
 */
export class Ledger {
  readonly #node: ResourcePool;
  readonly #bundles: LedgerBundles;
  readonly #leases = new Map<string, { lease: Lease; bundle: Bundle | undefined; lent: Units }>();
  readonly #withheld = new WithheldDevices();
  readonly #why = (uuid: string): Withheld | undefined => this.#withheld.why(uuid);
  #held: ResourceUnits = {};
  #version = 1;

  constructor(totals: NodeTotals) {
    const topology = topologyOf(totals);
    this.#bundles = new LedgerBundles(topology);
    this.#node = new ResourcePool(totals.scalars, totals.devices.map(wholeDevice), topology);
    for (const { uuid, health, healthReason } of totals.devices) this.setHealth(uuid, health, healthReason);
  }

  /**
   * Takes in devices that were not known at the start; what is held stays as it is.
   * @param totals the scalars that come with them, and all devices, the known ones first.
   */
  grow({ scalars, devices, links }: NodeTotals): void {
    const topology = topologyOf({ devices, links });
    const more = devices.filter(({ uuid }) => !this.#node.devices.has(uuid));
    this.#bundles.topology = topology;
    this.#node.grow(scalars, more.map(wholeDevice), topology);
    for (const { uuid, health, healthReason } of more) this.setHealth(uuid, health, healthReason);
    this.#version++;
  }

  /** What is free outside bundles. The version grows with each change. */
  view(): NodeView {
    const devices: Record<string, number> = {};
    for (const uuid of this.#node.devices.uuids()) {
      const free = this.#node.devices.free(uuid);
      if (free > 0 && !this.#why(uuid)) devices[uuid] = free;
    }
    const withheld = this.#withheld.all();
    const more = Object.keys(withheld).length > 0 ? { withheld } : {};
    return { version: this.#version, free: this.#node.free(), devices, ...more };
  }

  get version(): number {
    return this.#version;
  }

  /**
   * First phase: takes all these bundles or none. Bundles that are already held under the same epoch count as taken.
   * @throws WhiprayError `STALE_EPOCH` when the group was seen with a newer epoch; `INVALID_BUNDLES` for an index twice.
   */
  prepare(pgId: string, epoch: number, asks: readonly BundleAsk[]): PrepareAnswer {
    this.#bundles.checkEpoch(pgId, epoch);
    if (new Set(asks.map((ask) => ask.index)).size !== asks.length) {
      throw new WhiprayError({ code: "INVALID_BUNDLES", message: `${pgId}: a bundle index is named twice` });
    }
    const wanted: BundleAsk[] = [];
    for (const ask of asks) {
      const held = this.#bundles.get(pgId, ask.index);
      if (!held) wanted.push(ask);
      else if (held.epoch !== epoch || held.state === "closing" || !sameUnits(held.units, ask.units)) {
        const now = `epoch ${held.epoch}, ${held.state}`;
        return { ok: false, reason: `bundle ${ask.index} of ${pgId} is still held here (${now}): release it first` };
      }
    }
    // Proposals first: what the ledger chooses must not take a device that another bundle was promised. Then the largest.
    wanted.sort((left, right) => right.devices.length - left.devices.length || deviceSum(right) - deviceSum(left));
    const taken: { ask: BundleAsk; devices: DeviceGrant[] }[] = [];
    for (const ask of wanted) {
      const fit = this.#node.fit(ask.units, ask.devices, ask.links, this.#why);
      if (!fit.ok) {
        for (const one of taken) this.#node.give(one.ask.units, one.devices);
        return { ok: false, reason: `bundle ${ask.index}: ${fit.reason}` };
      }
      this.#node.take(ask.units, fit.devices);
      taken.push({ ask, devices: fit.devices });
    }
    for (const { ask, devices } of taken) this.#bundles.add(pgId, epoch, ask.index, ask.units, devices);
    if (taken.length > 0) this.#version++;
    this.#bundles.sawEpoch(pgId, epoch);
    return { ok: true };
  }

  /** Devices of a bundle; undefined when it is not held here. */
  devicesIn(pgId: string, index: number): readonly DeviceGrant[] | undefined {
    return this.#bundles.get(pgId, index)?.devices;
  }

  /**
   * Second phase: leases may be taken inside from now on. Committing twice is fine.
   * @throws WhiprayError `STALE_EPOCH`, `BUNDLE_NOT_FOUND`: then none of them is committed.
   */
  commit(pgId: string, epoch: number, indices: readonly number[]): void {
    this.#bundles.checkEpoch(pgId, epoch);
    const mine = indices.map((index) => this.#bundles.get(pgId, index));
    const missing = indices.find((_, at) => mine[at]?.epoch !== epoch || mine[at]?.state === "closing");
    if (missing !== undefined) {
      throw new WhiprayError({
        code: "BUNDLE_NOT_FOUND",
        message: `bundle ${missing} of ${pgId} is not prepared here under epoch ${epoch}`,
        details: { pgId, index: missing, epoch },
      });
    }
    for (const bundle of mine) bundle!.state = "committed";
  }

  /**
   * Begins the release of bundles of this epoch or older (all of the group when no indices are given): no lease is taken inside
   * from now on. Answers which leases are still inside; they must be released before the bundles are.
   */
  close(pgId: string, epoch: number, indices?: readonly number[]): { indices: number[]; leaseIds: string[] } {
    const mine = this.#bundles.of(pgId).filter((bundle) => {
      return bundle.epoch <= epoch && (indices === undefined || indices.includes(bundle.index));
    });
    for (const bundle of mine) bundle.state = "closing";
    const keys = new Set(mine.map((bundle) => bundleKey(pgId, bundle.index)));
    const leaseIds: string[] = [];
    for (const { lease, bundle } of this.#leases.values()) {
      if (bundle && keys.has(bundleKey(bundle.pgId, bundle.index))) leaseIds.push(lease.leaseId);
    }
    this.#bundles.sawEpoch(pgId, epoch);
    return { indices: mine.map((bundle) => bundle.index), leaseIds };
  }

  /**
   * Gives closed bundles back. Unknown ones are fine.
   * @throws WhiprayError `BUNDLE_BUSY` when a lease is still inside: then none of them is given back.
   */
  releaseBundles(pgId: string, indices: readonly number[]): void {
    const mine = indices.map((index) => this.#bundles.get(pgId, index)).filter((bundle) => bundle?.state === "closing");
    const busy = mine.find((bundle) => bundle!.leases > 0);
    if (busy) {
      throw new WhiprayError({
        code: "BUNDLE_BUSY",
        message: `bundle ${busy.index} of ${pgId} still holds ${busy.leases} leases`,
        details: { pgId, index: busy.index, leases: busy.leases },
      });
    }
    for (const bundle of mine) {
      this.#bundles.remove(bundle!);
      this.#node.give(bundle!.units, bundle!.devices);
      this.#version++;
    }
  }

  /** Takes a lease, or says why not. The same lease id again gets the same answer. */
  acquire(ask: LeaseAsk): LeaseAnswer {
    const known = this.#leases.get(ask.leaseId);
    if (known) return { ok: true, lease: known.lease };
    if (ask.pgId !== undefined) return this.#acquireInside(ask.pgId, ask);
    const fit = this.#fit(this.#node, ask);
    if (!fit.ok) return fit;
    const heldBack = this.#heldBack(ask);
    if (heldBack !== undefined) return { ok: false, reason: heldBack };
    this.#node.take(ask.units, fit.devices);
    this.#version++;
    return this.#keep({ leaseId: ask.leaseId, units: ask.units, devices: fit.devices }, undefined);
  }

  #acquireInside(pgId: string, ask: LeaseAsk): LeaseAnswer {
    const index = ask.bundleIndex;
    const open = this.#bundles.of(pgId).filter((bundle) => {
      return bundle.state === "committed" && (index === -1 || bundle.index === index);
    });
    let reason = `${pgId} has no committed bundle${index === -1 ? "" : ` ${index}`} on this node`;
    for (const bundle of open) {
      const fit = this.#fit(bundle.pool, ask);
      if (!fit.ok) {
        reason = `bundle ${bundle.index} of ${pgId}: ${fit.reason}`;
        continue;
      }
      bundle.pool.take(ask.units, fit.devices);
      bundle.leases++;
      const { leaseId, units } = ask;
      return this.#keep({ leaseId, units, devices: fit.devices, pgId, bundleIndex: bundle.index }, bundle);
    }
    return { ok: false, reason };
  }

  /** Kept outside of bundles for placement groups that have waited too long; leases that yield pass only beside it. */
  hold(units: ResourceUnits): void {
    this.#held = units;
  }

  get held(): ResourceUnits {
    return this.#held;
  }

  #heldBack({ units, yields }: LeaseAsk): string | undefined {
    for (const [name, held] of yields ? Object.entries(this.#held) : []) {
      const wanted = units[name] ?? 0;
      const free = this.#node.amount(name, this.#why);
      if (wanted > 0 && free - held < wanted) {
        return `${showAmount(name, free)} free, ${showAmount(name, held)} of it kept for a placement group that has waited longer, ${showAmount(name, wanted)} wanted`;
      }
    }
    return undefined;
  }

  #fit(pool: ResourcePool, ask: LeaseAsk) {
    const short = pool.scalarShortfall(ask.placementUnits);
    if (short !== undefined) return { ok: false as const, reason: short };
    return pool.fit(ask.units, ask.devices, ask.links, this.#why);
  }

  #keep(lease: Lease, bundle: Bundle | undefined): LeaseAnswer {
    this.#leases.set(lease.leaseId, { lease, bundle, lent: 0 });
    return { ok: true, lease };
  }

  /** Gives a lease back, exactly. False when it is not held. */
  release(leaseId: string): boolean {
    const known = this.#leases.get(leaseId);
    if (!known) return false;
    this.lend(leaseId, false);
    this.#leases.delete(leaseId);
    const { lease, bundle } = known;
    (bundle?.pool ?? this.#node).give(lease.units, lease.devices);
    if (bundle) bundle.leases--;
    else this.#version++;
    return true;
  }

  /**
   * Gives the CPUs of a lease back while its holder only waits, or takes them again at once: then more may be taken than there is, until
   * somebody gives back (Ray). Devices stay.
   */
  lend(leaseId: string, lent: boolean): void {
    const known = this.#leases.get(leaseId);
    const units = lent ? (known?.lease.units["CPU"] ?? 0) : 0;
    if (!known || known.lent === units) return;
    const pool = known.bundle?.pool ?? this.#node;
    if (units > 0) pool.give({ CPU: units }, []);
    else pool.take({ CPU: known.lent }, []);
    known.lent = units;
    if (!known.bundle) this.#version++;
  }

  lease(leaseId: string): Lease | undefined {
    return this.#leases.get(leaseId)?.lease;
  }

  /** Takes a device out of what is offered, or (without a reason) offers it again; who holds it keeps it. */
  withhold(uuid: string, kind: WithheldKind, reason: string | undefined): void {
    if (this.#node.devices.has(uuid) && this.#withheld.set(uuid, kind, reason)) this.#version++;
  }

  /** Why a device is not offered; undefined when it is. */
  withheld(uuid: string): Withheld | undefined {
    return this.#withheld.why(uuid);
  }

  setHealth(uuid: string, health: DeviceInfo["health"], reason = "its vendor's tool says so"): void {
    this.withhold(uuid, "unhealthy", health === "unhealthy" ? reason : undefined);
  }

  /** Leases that hold a part of a device. */
  leasesOn(uuid: string): Lease[] {
    const all = [...this.#leases.values()].map(({ lease }) => lease);
    return all.filter(({ devices }) => devices.some((device) => device.uuid === uuid));
  }

  /** What a registration tells the head. */
  runningBundles(): RunningBundle[] {
    return this.#bundles.running();
  }
}

function wholeDevice({ uuid, index, resource }: DeviceInfo): DeviceGrant {
  return { uuid, index, resource, units: UNITS_PER_ONE };
}

function topologyOf({ devices, links }: Pick<NodeTotals, "devices" | "links">): DeviceTopology {
  const places = devices.map(({ uuid, index, numaNode, linkDomain, vendor, acceleratorType }) => {
    return { uuid, index, numaNode, linkDomain, family: acceleratorType ?? vendor };
  });
  return new DeviceTopology(places, links);
}

function deviceSum(ask: BundleAsk): number {
  return Object.values(ask.units).reduce((sum, units) => sum + units, 0);
}

function sameUnits(left: ResourceUnits, right: ResourceUnits): boolean {
  const names = Object.keys(left);
  return names.length === Object.keys(right).length && names.every((name) => left[name] === right[name]);
}
