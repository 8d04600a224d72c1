import { type DeviceTopology, type ResourceUnits, WhiprayError } from "@whipray/core";
import type { DeviceGrant, RunningBundle } from "@whipray/rpc";
import { ResourcePool } from "./resource-pool.ts";

/** Groups whose last epoch is remembered after their bundles are gone, so that a late message of theirs is refused. */
export const REMEMBERED_GROUPS_LIMIT = 10_000;

/** A reserved part of a node. */
export interface Bundle {
  readonly pgId: string;
  readonly index: number;
  readonly epoch: number;
  readonly units: ResourceUnits;
  readonly devices: readonly DeviceGrant[];
  /** What is free inside. */
  readonly pool: ResourcePool;
  /** `closing`: being released, takes no new lease. */
  state: "prepared" | "committed" | "closing";
  /** Leases inside. */
  leases: number;
}

export function bundleKey(pgId: string, index: number): string {
  return `${pgId}/${index}`;
}

/** The bundles of one node, and the newest epoch seen of each group. Pure. */
export class LedgerBundles {
  readonly #groups = new Map<string, Map<number, Bundle>>();
  /** Group → newest epoch; in order of their last change. */
  readonly #epochs = new Map<string, number>();
  /** Of the node's devices, for bundles that are yet to come. */
  topology: DeviceTopology;

  constructor(topology: DeviceTopology) {
    this.topology = topology;
  }

  get(pgId: string, index: number): Bundle | undefined {
    return this.#groups.get(pgId)?.get(index);
  }

  /** Bundles of a group by index. */
  of(pgId: string): Bundle[] {
    return [...(this.#groups.get(pgId)?.values() ?? [])].sort((left, right) => left.index - right.index);
  }

  add(pgId: string, epoch: number, index: number, units: ResourceUnits, devices: readonly DeviceGrant[]): void {
    const group = this.#groups.get(pgId) ?? new Map<number, Bundle>();
    this.#groups.set(pgId, group);
    const scalars = { ...units };
    for (const { resource } of devices) delete scalars[resource];
    const pool = new ResourcePool(scalars, devices, this.topology);
    group.set(index, { pgId, index, epoch, units, devices, pool, state: "prepared", leases: 0 });
  }

  remove(bundle: Bundle): void {
    const group = this.#groups.get(bundle.pgId);
    group?.delete(bundle.index);
    if (group?.size === 0) this.#groups.delete(bundle.pgId);
  }

  /** @throws WhiprayError `STALE_EPOCH` */
  checkEpoch(pgId: string, epoch: number): void {
    const newest = this.#epochs.get(pgId);
    if (newest === undefined || epoch >= newest) return;
    throw new WhiprayError({
      code: "STALE_EPOCH",
      message: `${pgId} is at epoch ${newest} on this node; epoch ${epoch} is older and was refused`,
      details: { pgId, epoch, newest },
    });
  }

  sawEpoch(pgId: string, epoch: number): void {
    const newest = Math.max(epoch, this.#epochs.get(pgId) ?? 0);
    this.#epochs.delete(pgId);
    this.#epochs.set(pgId, newest);
    if (this.#epochs.size <= REMEMBERED_GROUPS_LIMIT) return;
    for (const old of this.#epochs.keys()) {
      if (this.#groups.has(old)) continue;
      this.#epochs.delete(old);
      return;
    }
  }

  running(): RunningBundle[] {
    const all: RunningBundle[] = [];
    for (const group of this.#groups.values()) {
      for (const { pgId, index, epoch, state } of group.values()) {
        all.push({ pgId, index, epoch, committed: state === "committed" });
      }
    }
    return all;
  }
}
