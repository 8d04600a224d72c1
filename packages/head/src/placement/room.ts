import {
  chooseFraction,
  chooseWhole,
  DEVICE_RESOURCES,
  DeviceTopology,
  type LinkRule,
  type ResourceUnits,
  UNITS_PER_ONE,
  type Units,
} from "@whipray/core";
import type { DeviceGrant } from "@whipray/rpc";
import type { Wanted } from "./request.ts";
import { Shelf } from "./shelf.ts";

/** One device and what is free of it; 10 000 units are the whole device. */
export interface DeviceRoom {
  readonly uuid: string;
  readonly index: number;
  readonly resource: string;
  readonly units: Units;
}

/** What placement may use on one node: plain data, never changed. */
export interface NodeRoom {
  readonly nodeId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly free: ResourceUnits;
  readonly devices: readonly DeviceRoom[];
  /** How the devices reach each other, and where they are. */
  readonly topology?: DeviceTopology | undefined;
  /** Devices that are there but not offered, for reasons: `GPU 3 (busy: foreign pid 77)`. */
  readonly withheld?: readonly string[] | undefined;
}

/** What somebody sees of a node: these resources and the labels with these keys. Default: all. */
export interface Sight {
  readonly names?: readonly string[];
  readonly labels?: readonly string[];
}

const LOOKS = new WeakMap<NodeRoom, Room>();
const SIGNATURES = new WeakMap<NodeRoom, Map<string, string>>();
/** Sights of one node whose texts are kept. */
const SIGNATURES_KEPT = 8;

/** A room to look at, never to take from: made once for a node as it is. */
export function lookAt(node: NodeRoom): Room {
  const known = LOOKS.get(node) ?? new Room(node);
  LOOKS.set(node, known);
  return known;
}

/** `signature` of a node as it is: the text is made once for everybody who sees the same of it (`key`). */
export function signatureOf(node: NodeRoom, sight: Sight & { readonly key: string }): string {
  const texts = SIGNATURES.get(node) ?? new Map<string, string>();
  const known = texts.get(sight.key);
  if (known !== undefined) return known;
  const text = lookAt(node).signature(sight);
  if (texts.size >= SIGNATURES_KEPT) texts.clear();
  SIGNATURES.set(node, texts.set(sight.key, text));
  return text;
}

const NOTHING_KNOWN = new DeviceTopology([]);

/** A trial copy of a room: takes and gives back while a placement is worked out, so nothing real changes. */
export class Room {
  readonly nodeId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly free: Record<string, Units>;
  readonly topology: DeviceTopology;
  readonly withheld: readonly string[];
  readonly #shelves = new Map<string, Shelf>();

  constructor(from: NodeRoom) {
    this.nodeId = from.nodeId;
    this.labels = from.labels;
    this.free = { ...from.free };
    this.topology = from.topology ?? NOTHING_KNOWN;
    this.withheld = from.withheld ?? [];
    const byResource = Map.groupBy(from.devices, (device) => device.resource);
    for (const [resource, devices] of byResource) this.#shelves.set(resource, new Shelf(devices));
  }

  snapshot(): NodeRoom {
    const devices = [...this.#shelves.values()].flatMap((shelf) => shelf.devices);
    const { nodeId, labels, topology, withheld } = this;
    return { nodeId, labels, free: { ...this.free }, devices, topology, withheld };
  }

  get hasDevices(): boolean {
    return this.#shelves.size > 0;
  }

  /** Every resource that it has. */
  names(): string[] {
    return [...Object.keys(this.free), ...this.#shelves.keys()];
  }

  /** Whether it is counted in single devices: by its name (Ray's list), or because this node has such devices. */
  isDevice(resource: string): boolean {
    return this.#shelves.has(resource) || DEVICE_RESOURCES.has(resource);
  }

  /** Free units of one resource, devices added up. */
  amount(resource: string): Units {
    return this.#shelves.get(resource)?.sum ?? (DEVICE_RESOURCES.has(resource) ? 0 : (this.free[resource] ?? 0));
  }

  /** What is wanted beyond what can be had here; empty when it fits. */
  missing({ units, links }: Wanted): Record<string, Units> {
    const missing: Record<string, Units> = {};
    for (const resource in units) {
      const short = this.#short(resource, units[resource]!, links);
      if (short > 0) missing[resource] = short;
    }
    return missing;
  }

  #short(resource: string, need: Units, links: LinkRule | undefined): Units {
    const shelf = this.#shelves.get(resource);
    if (!shelf) return need - this.amount(resource);
    return shelf.missing(need, links === "STRICT" ? this.topology : undefined);
  }

  fits({ units, links }: Wanted): boolean {
    for (const resource in units) if (this.#short(resource, units[resource]!, links) > 0) return false;
    return true;
  }

  /** How often it could be taken at most; less when the rest does not fit together. */
  times({ units }: Wanted): number {
    let least = Number.POSITIVE_INFINITY;
    for (const resource in units) {
      const need = units[resource]!;
      if (need === 0) continue;
      const shelf = this.#shelves.get(resource);
      least = Math.min(least, shelf ? shelf.times(need) : Math.floor(this.amount(resource) / need));
    }
    return least;
  }

  /** Takes everything or nothing. Whole devices: those that `chooseWhole` chooses; fractions: the tightest device. */
  take(wanted: Wanted): DeviceGrant[] | undefined {
    const grants = this.fits(wanted) ? this.#choose(wanted) : undefined;
    if (grants) this.grant(wanted.units, grants);
    return grants;
  }

  #choose({ units, links }: Wanted): DeviceGrant[] {
    const grants: DeviceGrant[] = [];
    for (const resource in units) {
      const shelf = this.#shelves.get(resource);
      if (!shelf) continue;
      const need = units[resource]!;
      const chosen =
        need < UNITS_PER_ONE
          ? [chooseFraction(shelf.devices, need, this.topology)!]
          : chooseWhole(shelf.devices, need / UNITS_PER_ONE, this.topology, links)!;
      for (const { uuid, index } of chosen)
        grants.push({ uuid, index, resource, units: Math.min(need, UNITS_PER_ONE) });
    }
    return grants;
  }

  /** Every choice of devices that differs in what it leaves: for the exhaustive search. The first is what `take` takes. */
  choices(wanted: Wanted): DeviceGrant[][] {
    if (!this.fits(wanted)) return [];
    const { units } = wanted;
    let choices: DeviceGrant[][] = [this.#choose(wanted)];
    for (const resource in units) {
      const need = units[resource]!;
      const shelf = this.#shelves.get(resource);
      const several = shelf && this.#differing(shelf, need, wanted.links);
      if (!several) continue;
      choices = several.flatMap((devices) => choices.map((grants) => withDevices(grants, resource, devices)));
    }
    return choices;
  }

  /** Devices of which each set leaves something else: a fraction's donors, or under `STRICT` one set a link domain. */
  #differing(shelf: Shelf, need: Units, links: LinkRule | undefined): DeviceRoom[][] | undefined {
    if (need < UNITS_PER_ONE) return shelf.tightest(need).map((device) => [device]);
    if (links !== "STRICT" || need === UNITS_PER_ONE) return undefined;
    const domains = Map.groupBy(shelf.devices, ({ uuid }) => this.topology.device(uuid)?.linkDomain);
    return [...domains].flatMap(([domain, devices]) => {
      const chosen =
        domain === undefined ? undefined : chooseWhole(devices, need / UNITS_PER_ONE, this.topology, links);
      return chosen ? [chosen] : [];
    });
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

  /** Text that is equal for two nodes that placement cannot tell apart, or that look the same to whoever sees only a part. */
  signature({ names, labels }: Sight = {}): string {
    let text = this.hasDevices ? "+" : "-";
    for (const name of names ?? Object.keys(this.free).sort()) {
      const free = this.isDevice(name) ? 0 : (this.free[name] ?? 0);
      if (free !== 0) text += `${name} ${free},`;
    }
    for (const [resource, { devices }] of this.#shelves) {
      if (names && !names.includes(resource)) continue;
      const { blank, pairs } = this.topology;
      const each = devices.map((d) => `${d.resource} ${d.units} ${blank ? "" : this.#whereabouts(d.uuid)}`);
      // With links the order means something.
      text += `${(pairs === "" ? each.sort() : each).join(",")};${pairs};`;
    }
    const seen = labels
      ? labels.map((key) => (Object.hasOwn(this.labels, key) ? this.labels[key] : null))
      : this.labels;
    return `${text}|${JSON.stringify(seen)}`;
  }

  #whereabouts(uuid: string): string {
    const device = this.topology.device(uuid);
    return `${device?.linkDomain ?? ""} ${device?.numaNode ?? ""} ${device?.family ?? ""}`;
  }
}

function withDevices(grants: readonly DeviceGrant[], resource: string, devices: readonly DeviceRoom[]): DeviceGrant[] {
  let at = 0;
  return grants.map((one) => {
    if (one.resource !== resource) return one;
    const { uuid, index } = devices[at++]!;
    return { ...one, uuid, index };
  });
}
