import { DEVICE_RESOURCES, type ResourceUnits, UNITS_PER_ONE, type Units } from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import { chooseWhole } from "./devices.ts";

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
  readonly #devices = new Map<string, DeviceRoom>();
  readonly #kinds = new Set<string>();

  constructor(from: NodeRoom) {
    this.nodeId = from.nodeId;
    this.labels = from.labels;
    this.free = { ...from.free };
    for (const device of from.devices) {
      this.#devices.set(device.uuid, device);
      this.#kinds.add(device.resource);
    }
  }

  snapshot(): NodeRoom {
    return { nodeId: this.nodeId, labels: this.labels, free: this.free, devices: [...this.#devices.values()] };
  }

  devices(resource: string): DeviceRoom[] {
    return [...this.#devices.values()].filter((device) => device.resource === resource);
  }

  get hasDevices(): boolean {
    return this.#devices.size > 0;
  }

  /** Whether it is counted in single devices: by its name (Ray's list), or because this node has such devices. */
  isDevice(resource: string): boolean {
    return this.#kinds.has(resource) || DEVICE_RESOURCES.has(resource);
  }

  /** Free units of one resource, devices added up. */
  amount(resource: string): Units {
    if (!this.isDevice(resource)) return this.free[resource] ?? 0;
    return this.devices(resource).reduce((sum, device) => sum + device.units, 0);
  }

  /** What `units` asks beyond what can be had here; empty when it fits. Whole devices count only when wholly free. */
  missing(units: ResourceUnits): Record<string, Units> {
    const missing: Record<string, Units> = {};
    for (const resource in units) {
      const need = units[resource]!;
      const short = this.isDevice(resource) ? this.#deviceShort(resource, need) : need - (this.free[resource] ?? 0);
      if (short > 0) missing[resource] = short;
    }
    return missing;
  }

  #deviceShort(resource: string, need: Units): Units {
    const devices = this.devices(resource);
    if (need >= UNITS_PER_ONE) {
      const whole = devices.filter((device) => device.units === UNITS_PER_ONE).length;
      return need % UNITS_PER_ONE === 0 ? need - whole * UNITS_PER_ONE : need;
    }
    return need - devices.reduce((most, device) => Math.max(most, device.units), 0);
  }

  fits(units: ResourceUnits): boolean {
    for (const _ in this.missing(units)) return false;
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
      if (!this.isDevice(resource)) continue;
      const need = units[resource]!;
      const devices = this.devices(resource);
      const chosen = need < UNITS_PER_ONE ? tightest(devices, need).slice(0, 1) : chooseWhole(devices, need);
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
      if (!this.isDevice(resource) || need >= UNITS_PER_ONE) continue;
      choices = tightest(this.devices(resource), need).flatMap(({ uuid, index }) =>
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
    const ofDevices = new Set(grants.map((grant) => grant.resource));
    for (const resource in units) {
      if (!ofDevices.has(resource)) this.free[resource] = (this.free[resource] ?? 0) + sign * units[resource]!;
    }
    for (const { uuid, units: share } of grants) {
      const device = this.#devices.get(uuid);
      if (device) this.#devices.set(uuid, { ...device, units: device.units + sign * share });
    }
  }

  /** Takes as much of `units` as there is, for a reservation: never fails. Prefers devices that are most free. */
  hold(units: ResourceUnits): void {
    for (const resource in units) {
      const need = units[resource]!;
      if (!this.isDevice(resource)) {
        this.free[resource] = Math.max(0, (this.free[resource] ?? 0) - need);
        continue;
      }
      const byFree = this.devices(resource).sort((a, b) => b.units - a.units || a.index - b.index);
      for (const device of byFree.slice(0, Math.max(1, Math.floor(need / UNITS_PER_ONE)))) {
        this.#devices.set(device.uuid, { ...device, units: Math.max(0, device.units - need) });
      }
    }
  }

  /** Text that is equal for two nodes that placement cannot tell apart. */
  signature(): string {
    const devices = [...this.#devices.values()].map(
      (d) => `${d.resource} ${d.units} ${d.linkDomain ?? ""} ${d.numaNode ?? ""}`,
    );
    const free = Object.entries(this.free).filter(([, units]) => units !== 0);
    return JSON.stringify([free.sort(), devices.sort(), Object.entries(this.labels).sort()]);
  }
}

/** Devices that can give `need`, the one with the smallest remainder first; of equally free ones only the lowest index. */
function tightest(devices: readonly DeviceRoom[], need: Units): DeviceRoom[] {
  const fitting = devices.filter((device) => device.units >= need);
  fitting.sort((a, b) => a.units - b.units || a.index - b.index);
  return fitting.filter((device, at) => at === 0 || fitting[at - 1]!.units !== device.units);
}
