import { type DeviceTopology, UNITS_PER_ONE, type Units } from "@whipray/core";
import type { DeviceRoom } from "./room.ts";

/** The devices of one resource on one node while a placement is worked out: sums are kept, so that most questions need no loop. */
export class Shelf {
  /** By index. */
  readonly devices: DeviceRoom[];
  /** Free units, all devices together. */
  sum = 0;
  /** Devices that are wholly free. */
  whole = 0;

  constructor(devices: readonly DeviceRoom[]) {
    this.devices = [...devices].sort((a, b) => a.index - b.index);
    for (const { units } of devices) this.#count(units, 1);
  }

  add(uuid: string, units: Units): void {
    const at = this.devices.findIndex((device) => device.uuid === uuid);
    if (at >= 0) this.set(at, this.devices[at]!.units + units);
  }

  set(at: number, units: Units): void {
    const device = this.devices[at]!;
    this.#count(device.units, -1);
    this.#count(units, 1);
    this.devices[at] = { ...device, units };
  }

  #count(units: Units, sign: 1 | -1): void {
    this.sum += sign * units;
    if (units === UNITS_PER_ONE) this.whole += sign;
  }

  /**
   * What `need` asks beyond what can be had: whole devices count only when wholly free, a fraction must fit one device. With
   * `strict`, several devices must be of one of its link domains.
   */
  missing(need: Units, strict?: DeviceTopology): Units {
    if (need < UNITS_PER_ONE) {
      let most = this.whole > 0 ? UNITS_PER_ONE : 0;
      if (most === 0) for (const device of this.devices) most = Math.max(most, device.units);
      return Math.max(0, need - most);
    }
    if (need % UNITS_PER_ONE !== 0) return need;
    const whole = strict && need > UNITS_PER_ONE ? this.#wholeInOneDomain(strict) : this.whole;
    return Math.max(0, need - whole * UNITS_PER_ONE);
  }

  /** How often `need` could be taken, one after another. */
  times(need: Units): number {
    if (need >= UNITS_PER_ONE) return Math.floor((this.whole * UNITS_PER_ONE) / need);
    return this.devices.reduce((sum, { units }) => sum + Math.floor(units / need), 0);
  }

  /** Wholly free devices of the domain that has most of them; a device without links is alone. */
  #wholeInOneDomain(topology: DeviceTopology): number {
    const counts = new Map<string, number>();
    let most = Math.min(1, this.whole);
    for (const { uuid, units } of this.devices) {
      const domain = topology.device(uuid)?.linkDomain;
      if (units !== UNITS_PER_ONE || domain === undefined) continue;
      const count = (counts.get(domain) ?? 0) + 1;
      counts.set(domain, count);
      most = Math.max(most, count);
    }
    return most;
  }

  /** Devices that can give a fraction, the one with the smallest remainder first; of equally free ones only the lowest index. */
  tightest(need: Units): DeviceRoom[] {
    const fitting = this.devices.filter((device) => device.units >= need);
    fitting.sort((a, b) => a.units - b.units || a.index - b.index);
    return fitting.filter((device, at) => at === 0 || fitting[at - 1]!.units !== device.units);
  }

  /** Takes as much as there is of `need`, from the devices that are most free. */
  hold(need: Units): void {
    const order = [...this.devices.keys()].sort((a, b) => this.devices[b]!.units - this.devices[a]!.units || a - b);
    for (const at of order.slice(0, Math.max(1, Math.floor(need / UNITS_PER_ONE)))) {
      this.set(at, Math.max(0, this.devices[at]!.units - need));
    }
  }
}
