import { showAmount, UNITS_PER_ONE, type Units } from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";

interface Share {
  readonly uuid: string;
  readonly index: number;
  readonly resource: string;
  /** What there is of the device here: 10 000 on a node, perhaps less in a bundle. */
  readonly total: Units;
  free: Units;
}

/**
 * Single devices and what is free of each: those of a node, or those of one bundle. A fraction never spans two devices, and
 * above one device only whole ones are given (ray.md section 4). Pure.
 */
export class DeviceShares {
  readonly #shares = new Map<string, Share>();

  constructor(devices: readonly DeviceGrant[]) {
    for (const { uuid, index, resource, units } of devices) {
      this.#shares.set(uuid, { uuid, index, resource, total: units, free: units });
    }
  }

  has(uuid: string): boolean {
    return this.#shares.has(uuid);
  }

  /** Free units; 0 for a device that is not here. */
  free(uuid: string): Units {
    return this.#shares.get(uuid)?.free ?? 0;
  }

  uuids(): IterableIterator<string> {
    return this.#shares.keys();
  }

  /** Whether nothing is taken of the device. */
  untouched(uuid: string): boolean {
    const share = this.#shares.get(uuid);
    return share !== undefined && share.free === share.total;
  }

  /**
   * Devices for `units` of a resource: whole ones by lowest index; a fraction from the device where the least remains
   * (Ray: best fit). Undefined when there are none. `usable` leaves out quarantined and unhealthy ones.
   */
  choose(resource: string, units: Units, usable: (uuid: string) => boolean): DeviceGrant[] | undefined {
    const mine = [...this.#shares.values()]
      .filter((share) => share.resource === resource && usable(share.uuid))
      .sort((left, right) => left.index - right.index);
    if (units >= UNITS_PER_ONE) {
      if (units % UNITS_PER_ONE !== 0) return undefined;
      const whole = mine.filter((share) => share.free === UNITS_PER_ONE).slice(0, units / UNITS_PER_ONE);
      return whole.length * UNITS_PER_ONE === units ? whole.map((share) => grant(share, UNITS_PER_ONE)) : undefined;
    }
    let best: Share | undefined;
    for (const share of mine) if (share.free >= units && share.free < (best?.free ?? Infinity)) best = share;
    return best && [grant(best, units)];
  }

  /** Why these devices cannot be given for `units` of a resource; undefined when they can. */
  refuse(
    resource: string,
    units: Units,
    proposed: readonly DeviceGrant[],
    usable: (uuid: string) => boolean,
  ): string | undefined {
    const sum = proposed.reduce((total, device) => total + device.units, 0);
    const whole = units >= UNITS_PER_ONE;
    const shaped = whole
      ? proposed.every((device) => device.units === UNITS_PER_ONE)
      : proposed.length === 1 && units > 0;
    if (sum !== units || !shaped) {
      return `${proposed.length} devices with ${sum / UNITS_PER_ONE} were proposed for ${showAmount(resource, units)}`;
    }
    const seen = new Set<string>();
    for (const { uuid, units: wanted } of proposed) {
      const share = this.#shares.get(uuid);
      if (seen.has(uuid)) return `device ${uuid} was proposed twice`;
      seen.add(uuid);
      if (!share) return `device ${uuid} is not here`;
      if (share.resource !== resource) return `device ${uuid} counts as ${share.resource}, not ${resource}`;
      if (!usable(uuid)) return `device ${uuid} is quarantined or unhealthy`;
      if (share.free < wanted) {
        return `device ${uuid} has ${share.free / UNITS_PER_ONE} free, ${wanted / UNITS_PER_ONE} were proposed`;
      }
    }
    return undefined;
  }

  /** Checked proposals in this node's own words. */
  named(proposed: readonly DeviceGrant[]): DeviceGrant[] {
    return proposed.map(({ uuid, units }) => grant(this.#shares.get(uuid)!, units));
  }

  /** The caller has checked that they are free. */
  take(grants: readonly DeviceGrant[]): void {
    for (const { uuid, units } of grants) this.#shares.get(uuid)!.free -= units;
  }

  give(grants: readonly DeviceGrant[]): void {
    for (const { uuid, units } of grants) this.#shares.get(uuid)!.free += units;
  }

  /** Free units of one resource, all its devices together; for reasons. */
  sum(resource: string, usable: (uuid: string) => boolean): Units {
    let sum = 0;
    for (const share of this.#shares.values()) {
      if (share.resource === resource && usable(share.uuid)) sum += share.free;
    }
    return sum;
  }
}

function grant(share: Share, units: Units): DeviceGrant {
  return { uuid: share.uuid, index: share.index, resource: share.resource, units };
}
