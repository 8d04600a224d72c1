import type { DeviceTopology } from "./device-topology.ts";
import { UNITS_PER_ONE, type Units } from "./resources.ts";

/** `STRICT`: all devices of one bundle in one link domain, or it waits. `ANY`: as near to each other as they can be. */
export type LinkRule = "ANY" | "STRICT";

/** A device and what is free of it. */
export interface FreeDevice {
  readonly uuid: string;
  readonly index: number;
  /** 10 000 is the whole device. */
  readonly units: Units;
}

/** Sets that are compared one by one; where there are more, a greedy search from `SEEDS_LIMIT` devices: placement may take milliseconds. */
const EXACT_SETS_LIMIT = 2_000;
const SEEDS_LIMIT = 16;

/**
 * The `count` wholly free devices that one bundle should have, by index; undefined when there are not so many (under `STRICT`: not
 * in one link domain). The one choice of head and raylet (design.md, mechanism 4). Of all such sets, one with, in this order:
 * fewest families, best link of its worst pair, fewest NUMA nodes, best links in sum, most closeness left between those that stay
 * free, lowest indices. Exact up to `EXACT_SETS_LIMIT` sets, beyond that never worse than the lowest indices.
 */
export function chooseWhole<D extends FreeDevice>(
  devices: readonly D[],
  count: number,
  topology: DeviceTopology,
  rule: LinkRule = "ANY",
): D[] | undefined {
  const free = devices.filter((device) => device.units === UNITS_PER_ONE).sort(byIndex);
  if (count > free.length || count < 1) return undefined;
  if (rule === "STRICT" && count > 1) return inOneDomain(free, count, topology);
  if (count === free.length || topology.blank) return free.slice(0, count);
  const field = new Field(free, topology);
  const all = [...free.keys()];
  const places = setsOf(free.length, count) <= EXACT_SETS_LIMIT ? field.best(all, count) : field.good(all, count);
  return places.map((place) => free[place]!);
}

function inOneDomain<D extends FreeDevice>(
  free: readonly D[],
  count: number,
  topology: DeviceTopology,
): D[] | undefined {
  const domains = Map.groupBy(free, ({ uuid }) => topology.device(uuid)?.linkDomain);
  const field = new Field(free, topology);
  let best: number[] | undefined;
  for (const [domain, members] of domains) {
    if (domain === undefined || members.length < count) continue;
    const places = members.map((device) => free.indexOf(device));
    const exact = setsOf(members.length, count) <= EXACT_SETS_LIMIT;
    const chosen = exact ? field.best(places, count) : field.good(places, count);
    if (!best || field.compare(chosen, best) < 0) best = chosen;
  }
  return best?.map((place) => free[place]!);
}

/**
 * The device that should give a fraction: where the least remains (Ray: best fit); among wholly free ones the one whose loss
 * hurts the others least; then the lowest index. Undefined when none has that much.
 */
export function chooseFraction<D extends FreeDevice>(
  devices: readonly D[],
  need: Units,
  topology: DeviceTopology,
): D | undefined {
  let best: D | undefined;
  for (const device of devices) {
    if (device.units < need) continue;
    const tighter = best === undefined || device.units < best.units;
    if (tighter || (device.units === best!.units && device.index < best!.index)) best = device;
  }
  return best?.units === UNITS_PER_ONE ? chooseWhole(devices, 1, topology)?.[0] : best;
}

function byIndex(left: FreeDevice, right: FreeDevice): number {
  return left.index - right.index;
}

/** How many sets of `count` out of `from` there are; Infinity beyond what is compared one by one. */
function setsOf(from: number, count: number): number {
  let sets = 1;
  for (let i = 1; i <= Math.min(count, from - count); i++) {
    sets = (sets * (from - i + 1)) / i;
    if (sets > EXACT_SETS_LIMIT) return Infinity;
  }
  return sets;
}

/** The free devices as numbers: places in a list, and a table of what two of them are to each other. */
class Field {
  readonly #score: readonly (readonly number[])[];
  /** Link and shared NUMA node in one number, so that a device without fabric still has neighbours. */
  readonly #near: readonly (readonly number[])[];
  readonly #nearToAll: readonly number[];
  readonly #numa: readonly number[];
  readonly #family: readonly number[];

  constructor(free: readonly FreeDevice[], topology: DeviceTopology) {
    const known = free.map(({ uuid }) => topology.device(uuid));
    this.#numa = numbered(known.map((device) => device?.numaNode));
    this.#family = numbered(known.map((device) => device?.family));
    this.#score = free.map((a) => free.map((b) => topology.link(a.uuid, b.uuid)?.score ?? 0));
    this.#near = free.map((a, i) =>
      free.map((b, j) => {
        const shared = i !== j && known[i]?.numaNode !== undefined && known[i]?.numaNode === known[j]?.numaNode;
        return a === b ? 0 : this.#score[i]![j]! * 2 + (shared ? 1 : 0);
      }),
    );
    this.#nearToAll = this.#near.map((row) => row.reduce((sum, near) => sum + near, 0));
  }

  /** What counts, in order; lower is better. */
  #rank(places: readonly number[]): readonly number[] {
    let worst = Infinity;
    let inside = 0;
    let lost = 0;
    for (let i = 0; i < places.length; i++) {
      lost += this.#nearToAll[places[i]!]!;
      for (let j = i + 1; j < places.length; j++) {
        worst = Math.min(worst, this.#score[places[i]!]![places[j]!]!);
        inside += this.#near[places[i]!]![places[j]!]!;
      }
    }
    return [kindsOf(this.#family, places), -worst, kindsOf(this.#numa, places), -inside, lost - inside];
  }

  /** Below 0 when `left` is the better set. Both in order. */
  compare(left: readonly number[], right: readonly number[]): number {
    return lexical(this.#rank(left), this.#rank(right)) || lexical(left, right);
  }

  /** Compares all sets of `count` of these places. */
  best(from: readonly number[], count: number): number[] {
    let best: { places: number[]; rank: readonly number[] } | undefined;
    const places: number[] = [];
    const descend = (at: number): void => {
      if (places.length === count) {
        const rank = this.#rank(places);
        // Sets come in order of their indices: the first of equals stays.
        if (!best || lexical(rank, best.rank) < 0) best = { places: [...places], rank };
        return;
      }
      for (let next = at; next <= from.length - (count - places.length); next++) {
        places.push(from[next]!);
        descend(next + 1);
        places.pop();
      }
    };
    descend(0);
    return best!.places;
  }

  /** Grows a set around several devices and takes the best, the lowest indices among them. */
  good(from: readonly number[], count: number): number[] {
    let best = from.slice(0, count);
    const step = Math.ceil(from.length / SEEDS_LIMIT);
    for (let seed = 0; seed < from.length; seed += step) {
      const grown = this.#grow(from, from[seed]!, count);
      if (this.compare(grown, best) < 0) best = grown;
    }
    return best;
  }

  #grow(from: readonly number[], seed: number, count: number): number[] {
    const chosen = new Set([seed]);
    const families = new Set([this.#family[seed]!]);
    const numas = new Set([this.#numa[seed]!]);
    const worst = [...this.#score[seed]!];
    const inside = [...this.#near[seed]!];
    while (chosen.size < count) {
      let next: { place: number; rank: readonly number[] } | undefined;
      for (const place of from) {
        if (chosen.has(place)) continue;
        const [family, numa] = [this.#family[place]!, this.#numa[place]!];
        const strange = [families.has(family) ? 0 : 1, -worst[place]!, numas.has(numa) ? 0 : 1];
        const rank = [...strange, -inside[place]!, this.#nearToAll[place]! - inside[place]!];
        if (!next || lexical(rank, next.rank) < 0) next = { place, rank };
      }
      const { place } = next!;
      chosen.add(place);
      families.add(this.#family[place]!);
      numas.add(this.#numa[place]!);
      for (const other of from) {
        worst[other] = Math.min(worst[other]!, this.#score[place]![other]!);
        inside[other]! += this.#near[place]![other]!;
      }
    }
    return [...chosen].sort((left, right) => left - right);
  }
}

/** Equal values get equal numbers. */
function numbered(values: readonly unknown[]): number[] {
  const numbers = new Map<unknown, number>();
  return values.map((value) => {
    if (!numbers.has(value)) numbers.set(value, numbers.size);
    return numbers.get(value)!;
  });
}

function kindsOf(numbers: readonly number[], places: readonly number[]): number {
  let kinds = 0;
  for (let at = 0; at < places.length; at++) {
    let known = false;
    for (let before = 0; before < at && !known; before++) known = numbers[places[before]!] === numbers[places[at]!];
    if (!known) kinds++;
  }
  return kinds;
}

function lexical(left: readonly number[], right: readonly number[]): number {
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return left[i]! - right[i]!;
  return 0;
}
