import { DEVICE_RESOURCES, type ResourceUnits, UNITS_PER_ONE, type Units } from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import { chooseWhole } from "./devices.ts";
import { Shelf } from "./shelf.ts";

/** One device and what is free of it; 10 000 units are the whole device. */
export interface DeviceRoom {
  readonly uuid: string;
  readonly index: number;
  readonly resource: string;
  readonly units: Units;
  readonly linkDomain?: string | undefined;
  readonly numaNode?: number | undefined;
}

/** What placement may use on one node: plain data, never changed. */
export interface NodeRoom {
  readonly nodeId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly free: ResourceUnits;
  readonly devices: readonly DeviceRoom[];
}

/** A trial copy of a room: takes and gives back while a placement is worked out, so nothing real changes. */
export class Room {
  readonly nodeId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly free: Record<string, Units>;
  readonly #shelves = new Map<string, Shelf>();

  constructor(from: NodeRoom) {
    this.nodeId = from.nodeId;
    this.labels = from.labels;
    this.free = { ...from.free };
    const byResource = Map.groupBy(from.devices, (device) => device.resource);
    for (const [resource, devices] of byResource) this.#shelves.set(resource, new Shelf(devices));
  }

  snapshot(): NodeRoom {
    const devices = [...this.#shelves.values()].flatMap((shelf) => shelf.devices);
    return { nodeId: this.nodeId, labels: this.labels, free: { ...this.free }, devices };
  }

  get hasDevices(): boolean {
    return this.#shelves.size > 0;
  }

  /** Whether it is counted in single devices: by its name (Ray's list), or because this node has such devices. */
  isDevice(resource: string): boolean {
    return this.#shelves.has(resource) || DEVICE_RESOURCES.has(resource);
  }

  /** Free units of one resource, devices added up. */
  amount(resource: string): Units {
    return this.#shelves.get(resource)?.sum ?? (DEVICE_RESOURCES.has(resource) ? 0 : (this.free[resource] ?? 0));
  }

  /** What `units` asks beyond what can be had here; empty when it fits. */
  missing(units: ResourceUnits): Record<string, Units> {
    const missing: Record<string, Units> = {};
    for (const resource in units) {
      const short = this.#short(resource, units[resource]!);
      if (short > 0) missing[resource] = short;
    }
    return missing;
  }

  #short(resource: string, need: Units): Units {
    const shelf = this.#shelves.get(resource);
    return shelf ? shelf.missing(need) : need - this.amount(resource);
  }

  fits(units: ResourceUnits): boolean {
    for (const resource in units) if (this.#short(resource, units[resource]!) > 0) return false;
    return true;
  }

  /** Takes everything or nothing. Whole devices: lowest index in the best link domain; fractions: the tightest device. */
  take(units: ResourceUnits): DeviceGrant[] | undefined {
    const grants = this.fits(units) ? this.#choose(units) : undefined;
    if (grants) this.grant(units, grants);
    return grants;
  }

  #choose(units: ResourceUnits): DeviceGrant[] {
    const grants: DeviceGrant[] = [];
    for (const resource in units) {
      const shelf = this.#shelves.get(resource);
      if (!shelf) continue;
      const need = units[resource]!;
      const chosen = need < UNITS_PER_ONE ? shelf.tightest(need).slice(0, 1) : chooseWhole(shelf.devices, need);
      for (const { uuid, index } of chosen)
        grants.push({ uuid, index, resource, units: Math.min(need, UNITS_PER_ONE) });
    }
    return grants;
  }

  /** Every choice of devices that differs in what it leaves: for the exhaustive search. The first is what `take` takes. */
  choices(units: ResourceUnits): DeviceGrant[][] {
    if (!this.fits(units)) return [];
    let choices: DeviceGrant[][] = [this.#choose(units)];
    for (const resource in units) {
      const need = units[resource]!;
      const shelf = this.#shelves.get(resource);
      if (!shelf || need >= UNITS_PER_ONE) continue;
      choices = shelf
        .tightest(need)
        .flatMap(({ uuid, index }) =>
          choices.map((grants) => grants.map((one) => (one.resource === resource ? { ...one, uuid, index } : one))),
        );
    }
    return choices;
  }

  /** Subtracts scalars of `units` and these devices. */
  grant(units: ResourceUnits, grants: readonly DeviceGrant[]): void {
    this.#add(units, grants, -1);
  }

  giveBack(units: ResourceUnits, grants: readonly DeviceGrant[]): void {
    this.#add(units, grants, 1);
  }

  #add(units: ResourceUnits, grants: readonly DeviceGrant[], sign: 1 | -1): void {
    for (const resource in units) {
      if (!this.isDevice(resource)) this.free[resource] = (this.free[resource] ?? 0) + sign * units[resource]!;
    }
    for (const { uuid, resource, units: share } of grants) this.#shelves.get(resource)?.add(uuid, sign * share);
  }

  /** Takes as much of `units` as there is, for a reservation: never fails. */
  hold(units: ResourceUnits): void {
    for (const resource in units) {
      const need = units[resource]!;
      const shelf = this.#shelves.get(resource);
      if (shelf) shelf.hold(need);
      else this.free[resource] = Math.max(0, (this.free[resource] ?? 0) - need);
    }
  }

  /** Text that is equal for two nodes that placement cannot tell apart. */
  signature(): string {
    let text = "";
    for (const name of Object.keys(this.free).sort()) if (this.free[name] !== 0) text += `${name} ${this.free[name]},`;
    for (const { devices } of this.#shelves.values()) {
      const each = devices.map((d) => `${d.resource} ${d.units} ${d.linkDomain ?? ""} ${d.numaNode ?? ""}`);
      text += `${each.sort().join(",")};`;
    }
    return `${text}|${JSON.stringify(this.labels)}`;
  }
}
