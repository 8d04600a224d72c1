import { WhiprayError } from "./errors.ts";

/** Devices of one node whose links are told; of a node with more, nothing is known. */
export const LINKED_DEVICES_LIMIT = 256;
/** Different kinds of links on one node: one character names a kind. */
export const LINK_KINDS_LIMIT = 36;
const UNKNOWN = ".";

/** One device as choosing sees it. */
export interface TopologyDevice {
  readonly uuid: string;
  /** Order among equals, and what people call it. */
  readonly index: number;
  readonly numaNode?: number | undefined;
  /** CPUs next to it: `0-31,64-95`. */
  readonly cpuAffinity?: string | undefined;
  /** Devices that reach each other over a fabric share one. */
  readonly linkDomain?: string | undefined;
  /** Devices of different families are not mixed where that can be avoided: `H100` and `T4`. */
  readonly family?: string | undefined;
}

/** How two devices reach each other: `NV18`, `PIX`, `SYS`. */
export interface LinkWord {
  readonly name: string;
  /** Higher is better. Only the order means something; 0 is an unknown way. */
  readonly score: number;
  /** It leads from device to device, not over the host's PCIe. */
  readonly fabric: boolean;
}

export interface NamedLink extends LinkWord {
  readonly from: string;
  readonly to: string;
}

/**
 * The links of a node, small enough to travel with each registration: one character a pair, the upper triangle row by row in
 * the order of the devices. The character is the place in `kinds` in base 36; a dot is a pair of which nothing is known.
 */
export interface LinkMatrix {
  readonly kinds: readonly LinkWord[];
  readonly pairs: string;
}

/** Links as they travel; undefined when there are none, or more devices or kinds than the limits. Links of strangers are left out. */
export function packLinks(uuids: readonly string[], links: readonly NamedLink[]): LinkMatrix | undefined {
  if (uuids.length > LINKED_DEVICES_LIMIT) return undefined;
  const places = new Map(uuids.map((uuid, place) => [uuid, place]));
  const kinds: LinkWord[] = [];
  const pairs: string[] = new Array(pairCount(uuids.length)).fill(UNKNOWN);
  for (const { from, to, name, score, fabric } of links) {
    const [a, b] = [places.get(from), places.get(to)];
    if (a === undefined || b === undefined || a === b) continue;
    let kind = kinds.findIndex((word) => word.name === name && word.score === score && word.fabric === fabric);
    if (kind < 0) kind = kinds.push({ name, score, fabric }) - 1;
    if (kind >= LINK_KINDS_LIMIT) return undefined;
    pairs[pairPlace(Math.min(a, b), Math.max(a, b), uuids.length)] = kind.toString(36);
  }
  return kinds.length === 0 ? undefined : { kinds, pairs: pairs.join("") };
}

/** Names of the groups of devices that a fabric joins; devices without one are absent. */
export function linkDomains(uuids: readonly string[], links: readonly NamedLink[]): Map<string, string> {
  const parent = new Map<string, string>(uuids.map((uuid) => [uuid, uuid]));
  const root = (uuid: string): string => {
    const up = parent.get(uuid)!;
    return up === uuid ? uuid : root(up);
  };
  const joined = new Set<string>();
  for (const { from, to, fabric } of links) {
    if (!fabric || from === to || !parent.has(from) || !parent.has(to)) continue;
    parent.set(root(to), root(from));
    joined.add(from).add(to);
  }
  const numbers = new Map<string, number>();
  const domains = new Map<string, string>();
  for (const uuid of uuids) {
    if (!joined.has(uuid)) continue;
    const number = numbers.get(root(uuid)) ?? numbers.size;
    numbers.set(root(uuid), number);
    domains.set(uuid, `fabric-${number}`);
  }
  return domains;
}

function pairCount(devices: number): number {
  return (devices * (devices - 1)) / 2;
}

function pairPlace(low: number, high: number, devices: number): number {
  return low * devices - (low * (low + 1)) / 2 + high - low - 1;
}

/** A fabric that only the shared domain proves: better than every way over PCIe. */
const SAME_DOMAIN: LinkWord = { name: "linked", score: 1_000, fabric: true };

/** Where the devices of one node are, and how they reach each other. Immutable. */
export class DeviceTopology {
  readonly #devices: ReadonlyMap<string, { readonly device: TopologyDevice; readonly place: number }>;
  readonly #links: LinkMatrix | undefined;
  /** Nothing tells the devices apart but their index. */
  readonly blank: boolean;
  /** Text of all links, in the order of the devices: equal for nodes that are built alike. */
  readonly pairs: string;

  /** @throws WhiprayError `INVALID_LINKS` when `links` was not made for these devices. */
  constructor(devices: readonly TopologyDevice[], links?: LinkMatrix) {
    this.#devices = new Map(devices.map((device, place) => [device.uuid, { device, place }]));
    if (links && links.pairs.length !== pairCount(devices.length)) {
      throw new WhiprayError({
        code: "INVALID_LINKS",
        message: `${devices.length} devices have ${pairCount(devices.length)} pairs; links of ${links.pairs.length} pairs were told`,
        details: { devices: devices.length, pairs: links.pairs.length },
      });
    }
    this.#links = links;
    this.pairs = links ? `${links.kinds.map(({ name, score }) => `${name}=${score}`).join(" ")} ${links.pairs}` : "";
    this.blank = links === undefined && devices.every((device) => same(device, devices[0]!));
  }

  device(uuid: string): TopologyDevice | undefined {
    return this.#devices.get(uuid)?.device;
  }

  /** Undefined when nothing is known of this pair. */
  link(from: string, to: string): LinkWord | undefined {
    const [a, b] = [this.#devices.get(from), this.#devices.get(to)];
    if (!a || !b || a === b) return undefined;
    if (this.#links) {
      const place = pairPlace(Math.min(a.place, b.place), Math.max(a.place, b.place), this.#devices.size);
      return this.#links.kinds[Number.parseInt(this.#links.pairs[place]!, LINK_KINDS_LIMIT)];
    }
    const shared = a.device.linkDomain !== undefined && a.device.linkDomain === b.device.linkDomain;
    return shared ? SAME_DOMAIN : undefined;
  }
}

function same(left: TopologyDevice, right: TopologyDevice): boolean {
  return left.numaNode === right.numaNode && left.linkDomain === right.linkDomain && left.family === right.family;
}
