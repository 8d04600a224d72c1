import {
  DEVICE_RESOURCES,
  type DeviceTopology,
  type LinkRule,
  type ResourceUnits,
  showAmount,
  type Units,
} from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import { DeviceShares, type WhyWithheld } from "./device-shares.ts";

export type Fit = { ok: true; devices: DeviceGrant[] } | { ok: false; reason: string };

/** Scalars and single devices that can be taken and given back: a node, or one bundle. Pure. */
export class ResourcePool {
  readonly devices: DeviceShares;
  readonly #scalars = new Map<string, Units>();
  /** Resources that count in devices here, whatever core's list says. */
  readonly #deviceResources: Set<string>;

  constructor(scalars: ResourceUnits, devices: readonly DeviceGrant[], topology: DeviceTopology) {
    this.devices = new DeviceShares(devices, topology);
    this.#deviceResources = new Set(devices.map((device) => device.resource));
    for (const [name, units] of Object.entries(scalars)) if (!this.#isDevice(name)) this.#scalars.set(name, units);
  }

  /** More of the same node: what was not known when it was made. */
  grow(scalars: ResourceUnits, devices: readonly DeviceGrant[], topology: DeviceTopology): void {
    for (const { resource } of devices) this.#deviceResources.add(resource);
    for (const [name, units] of Object.entries(scalars))
      this.#scalars.set(name, (this.#scalars.get(name) ?? 0) + units);
    this.devices.grow(devices, topology);
  }

  /** Free scalars. */
  free(): Record<string, Units> {
    return Object.fromEntries([...this.#scalars].filter(([, units]) => units > 0));
  }

  /** What is free of one resource; devices that are not offered count for nothing. */
  amount(name: string, why: WhyWithheld): Units {
    return this.#isDevice(name) ? this.devices.sum(name, why) : (this.#scalars.get(name) ?? 0);
  }

  /** Why the scalars of `units` are not free, or undefined when they are. */
  scalarShortfall(units: ResourceUnits): string | undefined {
    for (const [name, wanted] of Object.entries(units)) {
      const free = this.#scalars.get(name) ?? 0;
      if (!this.#isDevice(name) && free < wanted) {
        return `${showAmount(name, free)} free, ${showAmount(name, wanted)} wanted`;
      }
    }
    return undefined;
  }

  /** Whether `units` can be taken, with which devices. Takes nothing. */
  fit(units: ResourceUnits, proposed: readonly DeviceGrant[], rule: LinkRule | undefined, why: WhyWithheld): Fit {
    const short = this.scalarShortfall(units);
    if (short !== undefined) return { ok: false, reason: short };
    const devices: DeviceGrant[] = [];
    for (const [name, wanted] of Object.entries(units)) {
      if (!this.#isDevice(name) || wanted === 0) continue;
      const mine = proposed.filter((device) => device.resource === name);
      const refusal = mine.length === 0 ? undefined : this.devices.refuse(name, wanted, mine, rule, why);
      if (refusal !== undefined) return { ok: false, reason: refusal };
      const chosen = mine.length > 0 ? this.devices.named(mine) : this.devices.choose(name, wanted, rule, why);
      if (chosen === undefined) {
        const free = showAmount(name, this.devices.sum(name, why));
        const strict = rule === "STRICT" ? ", and all must be in one link domain" : "";
        const law = `a fraction needs one device that has it, a whole one a device that nobody shares${strict}`;
        const besides = this.devices.besides(name, why);
        return { ok: false, reason: `${free} free, ${showAmount(name, wanted)} wanted (${law})${besides}` };
      }
      devices.push(...chosen);
    }
    const stray = proposed.find(({ resource }) => !Object.hasOwn(units, resource) || units[resource] === 0);
    if (stray) return { ok: false, reason: `device ${stray.uuid} was proposed, but no ${stray.resource} is wanted` };
    return { ok: true, devices };
  }

  /** The caller has checked with `fit`. */
  take(units: ResourceUnits, devices: readonly DeviceGrant[]): void {
    this.#change(units, -1);
    this.devices.take(devices);
  }

  give(units: ResourceUnits, devices: readonly DeviceGrant[]): void {
    this.#change(units, 1);
    this.devices.give(devices);
  }

  #change(units: ResourceUnits, sign: 1 | -1): void {
    for (const [name, amount] of Object.entries(units)) {
      if (!this.#isDevice(name)) this.#scalars.set(name, (this.#scalars.get(name) ?? 0) + sign * amount);
    }
  }

  #isDevice(name: string): boolean {
    return DEVICE_RESOURCES.has(name) || this.#deviceResources.has(name);
  }
}
