import {
  chooseFraction,
  chooseWhole,
  type DeviceTopology,
  type LinkRule,
  showAmount,
  UNITS_PER_ONE,
  type Units,
} from "@whipray/core";
import type { DeviceGrant, Withheld } from "@whipray/rpc";
import { showWithheld } from "./withheld.ts";

/** Why a device is not offered now; undefined when it is. */
export type WhyWithheld = (uuid: string) => Withheld | undefined;

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
  #topology: DeviceTopology;

  constructor(devices: readonly DeviceGrant[], topology: DeviceTopology) {
    this.#topology = topology;
    this.grow(devices, topology);
  }

  /** More devices; the topology is that of all. */
  grow(devices: readonly DeviceGrant[], topology: DeviceTopology): void {
    this.#topology = topology;
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
   * Devices for `units` of a resource, as `chooseWhole` and `chooseFraction` choose them. Undefined when there are none. What is
   * withheld is left out.
   */
  choose(resource: string, units: Units, rule: LinkRule | undefined, why: WhyWithheld): DeviceGrant[] | undefined {
    const mine = [...this.#shares.values()]
      .filter((share) => share.resource === resource && why(share.uuid) === undefined)
      .map(({ uuid, index, free }) => ({ uuid, index, units: free }));
    if (units < UNITS_PER_ONE) {
      const best = chooseFraction(mine, units, this.#topology);
      return best && [grant(this.#shares.get(best.uuid)!, units)];
    }
    if (units % UNITS_PER_ONE !== 0) return undefined;
    const whole = chooseWhole(mine, units / UNITS_PER_ONE, this.#topology, rule);
    return whole?.map(({ uuid }) => grant(this.#shares.get(uuid)!, UNITS_PER_ONE));
  }

  /** Why these devices cannot be given for `units` of a resource; undefined when they can. */
  refuse(
    resource: string,
    units: Units,
    proposed: readonly DeviceGrant[],
    rule: LinkRule | undefined,
    why: WhyWithheld,
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
      const withheld = why(uuid);
      if (withheld) return `device ${uuid} is not offered (${showWithheld(withheld)})`;
      if (share.free < wanted) {
        return `device ${uuid} has ${share.free / UNITS_PER_ONE} free, ${wanted / UNITS_PER_ONE} were proposed`;
      }
    }
    if (rule === "STRICT" && proposed.length > 1) {
      const domains = new Set(proposed.map(({ uuid }) => this.#topology.device(uuid)?.linkDomain ?? uuid));
      if (domains.size > 1) return `the proposed devices are of ${domains.size} link domains; all of one were wanted`;
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
  sum(resource: string, why: WhyWithheld): Units {
    let sum = 0;
    for (const share of this.#shares.values()) {
      if (share.resource === resource && why(share.uuid) === undefined) sum += share.free;
    }
    return sum;
  }

  /** What of a resource is held back, for reasons: `; not offered: GPU 3 (busy: foreign pid 77)`. Empty when nothing is. */
  besides(resource: string, why: WhyWithheld): string {
    const held = [...this.#shares.values()].flatMap((share) => {
      const withheld = share.resource === resource ? why(share.uuid) : undefined;
      return withheld ? [`${resource} ${share.index} (${showWithheld(withheld)})`] : [];
    });
    return held.length === 0 ? "" : `; not offered: ${held.join(", ").slice(0, 600)}`;
  }
}

function grant(share: Share, units: Units): DeviceGrant {
  return { uuid: share.uuid, index: share.index, resource: share.resource, units };
}
