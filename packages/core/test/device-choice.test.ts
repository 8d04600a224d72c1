import { chooseFraction, chooseWhole, DeviceTopology, type FreeDevice, type NamedLink, packLinks } from "@whipray/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { eightGpus, uuid, WHOLE } from "./topologies.ts";

const free = (indices: readonly number[], units = WHOLE): FreeDevice[] =>
  indices.map((index) => ({ uuid: uuid(index), index, units }));
const indicesOf = (devices: readonly FreeDevice[] | undefined) => devices?.map((device) => device.index);

describe("whole devices", () => {
  test("four of eight on a mesh stay on one NUMA node, and the next four get the other", () => {
    const { topology } = eightGpus("mesh");
    expect(indicesOf(chooseWhole(free([0, 1, 2, 3, 4, 5, 6, 7]), 4, topology))).toEqual([0, 1, 2, 3]);
    expect(indicesOf(chooseWhole(free([3, 4, 5, 6, 7]), 4, topology))).toEqual([4, 5, 6, 7]);
  });

  test("two devices are a linked pair, not the two lowest indices", () => {
    const { topology } = eightGpus("pairs");
    expect(indicesOf(chooseWhole(free([0, 2, 3, 5, 6, 7]), 2, topology))).toEqual([2, 3]);
  });

  test("one device is the one that has lost its partner: pairs stay whole for others", () => {
    const { topology } = eightGpus("pairs");
    expect(indicesOf(chooseWhole(free([0, 1, 2, 3, 5, 6, 7]), 1, topology))).toEqual([5]);
  });

  test("one device comes from the NUMA node that is less whole", () => {
    const { topology } = eightGpus("mesh");
    expect(indicesOf(chooseWhole(free([0, 1, 2, 3, 6, 7]), 1, topology))).toEqual([6]);
  });

  test("families are not mixed while one has enough", () => {
    const devices = [0, 1, 2, 3].map((index) => ({ uuid: uuid(index), index, family: index % 2 ? "H100" : "T4" }));
    expect(indicesOf(chooseWhole(free([0, 1, 2, 3]), 2, new DeviceTopology(devices)))).toEqual([0, 2]);
  });

  test("without any knowledge the lowest indices; shared devices do not count as free", () => {
    const topology = new DeviceTopology([0, 1, 2].map((index) => ({ uuid: uuid(index), index })));
    const shared = { ...free([0])[0]!, units: 9_000 };
    expect(indicesOf(chooseWhole([shared, ...free([2, 1])], 1, topology))).toEqual([1]);
    expect(chooseWhole([shared, ...free([2, 1])], 3, topology)).toBeUndefined();
  });

  test("STRICT stays in one link domain, and waits when none has enough", () => {
    const { topology } = eightGpus("pairs");
    expect(indicesOf(chooseWhole(free([0, 2, 3]), 2, topology, "STRICT"))).toEqual([2, 3]);
    expect(chooseWhole(free([0, 2, 4, 6]), 2, topology, "STRICT")).toBeUndefined();
    expect(chooseWhole(free([0, 1, 2, 3]), 3, topology, "STRICT")).toBeUndefined();
    expect(indicesOf(chooseWhole(free([4]), 1, topology, "STRICT"))).toEqual([4]);
  });
});

describe("fractions", () => {
  test("where the least remains; of whole ones the one whose partner is gone", () => {
    const { topology } = eightGpus("pairs");
    const shared = { ...free([7])[0]!, units: 5_000 };
    expect(chooseFraction([...free([0, 1, 2]), shared], 4_000, topology)?.index).toBe(7);
    expect(chooseFraction([...free([0, 1, 2]), shared], 6_000, topology)?.index).toBe(2);
    expect(chooseFraction([shared], 6_000, topology)).toBeUndefined();
  });
});

interface Machine {
  readonly numa: readonly (0 | 1 | undefined)[];
  readonly links: readonly (readonly [number, number, number])[];
}

const SCORES = [0, 100, 200, 400, 1_004, 1_012];
const machines = (most: number): fc.Arbitrary<Machine> =>
  fc.integer({ min: 2, max: most }).chain((devices) =>
    fc.record({
      numa: fc.array(fc.constantFrom(0, 1, undefined), { minLength: devices, maxLength: devices }),
      links: fc.array(
        fc.tuple(fc.nat(devices - 1), fc.nat(devices - 1), fc.constantFrom(...SCORES)).filter(([a, b]) => a !== b),
        { maxLength: devices * 3 },
      ),
    }),
  );

function topologyOf({ numa, links }: Machine): DeviceTopology {
  const uuids = numa.map((_, index) => uuid(index));
  const named = links.map(([a, b, score]): NamedLink => {
    return { from: uuid(a), to: uuid(b), name: `L${score}`, score, fabric: score > 1_000 };
  });
  const devices = numa.map((numaNode, index) => ({ uuid: uuid(index), index, numaNode }));
  return new DeviceTopology(devices, packLinks(uuids, named));
}

/** What the docstring of `chooseWhole` promises, written again from its words. */
function worth(chosen: readonly number[], all: readonly number[], topology: DeviceTopology): number[] {
  const score = (a: number, b: number) => topology.link(uuid(a), uuid(b))?.score ?? 0;
  const numa = (a: number) => topology.device(uuid(a))?.numaNode;
  const near = (a: number, b: number) => 2 * score(a, b) + (numa(a) !== undefined && numa(a) === numa(b) ? 1 : 0);
  const pairs = (of: readonly number[]) => of.flatMap((a, at) => of.slice(at + 1).map((b) => [a, b] as const));
  const worst = Math.min(...pairs(chosen).map(([a, b]) => score(a, b)));
  const sum = (of: readonly number[]) => pairs(of).reduce((total, [a, b]) => total + near(a, b), 0);
  const left = all.filter((one) => !chosen.includes(one));
  return [worst, -new Set(chosen.map(numa)).size, sum(chosen), sum(left)];
}

function better(left: readonly number[], right: readonly number[]): boolean {
  const at = left.findIndex((value, place) => value !== right[place]);
  return at >= 0 && left[at]! > right[at]!;
}

function setsOf(all: readonly number[], count: number): number[][] {
  if (count === 0) return [[]];
  return all.flatMap((one, at) => setsOf(all.slice(at + 1), count - 1).map((rest) => [one, ...rest]));
}

describe("any machine", () => {
  test("the choice is the best of all sets", () => {
    fc.assert(
      fc.property(machines(7), fc.integer({ min: 1, max: 7 }), (machine, count) => {
        const topology = topologyOf(machine);
        const all = machine.numa.map((_, index) => index);
        const chosen = indicesOf(chooseWhole(free(all), count, topology));
        if (count > all.length) {
          expect(chosen).toBeUndefined();
          return;
        }
        const best = setsOf(all, count).reduce((a, b) =>
          better(worth(b, all, topology), worth(a, all, topology)) ? b : a,
        );
        expect(chosen).toEqual(best);
      }),
    );
  });

  test("under STRICT the choice is the best of all sets in one link domain, and none where no domain has enough", () => {
    fc.assert(
      fc.property(machines(7), fc.integer({ min: 2, max: 5 }), (machine, count) => {
        const topology = topologyOf(machine);
        const all = machine.numa.map((_, index) => index);
        const domainsOf = (set: readonly number[]) => set.map((one) => topology.device(uuid(one))?.linkDomain);
        const sets = setsOf(all, count).filter((set) => {
          const domains = domainsOf(set);
          return domains[0] !== undefined && domains.every((domain) => domain === domains[0]);
        });
        const chosen = indicesOf(chooseWhole(free(all), count, topology, "STRICT"));
        if (sets.length === 0) expect(chosen).toBeUndefined();
        else
          expect(chosen).toEqual(
            sets.reduce((a, b) => (better(worth(b, all, topology), worth(a, all, topology)) ? b : a)),
          );
      }),
    );
  });

  test("a machine with too many sets to compare gets no worse than the lowest indices", () => {
    fc.assert(
      fc.property(machines(40), fc.integer({ min: 2, max: 20 }), (machine, count) => {
        const topology = topologyOf(machine);
        const all = machine.numa.map((_, index) => index);
        const chosen = indicesOf(chooseWhole(free(all), count, topology));
        if (count > all.length) {
          expect(chosen).toBeUndefined();
          return;
        }
        expect(new Set(chosen).size).toBe(count);
        expect(better(worth(all.slice(0, count), all, topology), worth(chosen!, all, topology))).toBe(false);
      }),
      { numRuns: 50 },
    );
  });

  /** What is free of each device; the machine's devices beyond the list are whole. */
  const shares = fc.array(fc.constantFrom(0, 100, 2_500, 5_000, 9_000, WHOLE), { maxLength: 7 });
  const partly = (devices: number, units: readonly number[]): FreeDevice[] =>
    Array.from({ length: devices }, (_, index) => ({ uuid: uuid(index), index, units: units[index] ?? WHOLE }));

  test("devices of which somebody has a part are not whole: the choice is the best of the others", () => {
    fc.assert(
      fc.property(machines(7), shares, fc.integer({ min: 1, max: 7 }), (machine, units, count) => {
        const topology = topologyOf(machine);
        const devices = partly(machine.numa.length, units);
        const whole = devices.filter((device) => device.units === WHOLE);
        const all = whole.map(({ index }) => index);
        const chosen = indicesOf(chooseWhole(devices, count, topology));
        if (count > all.length) {
          expect(chosen).toBeUndefined();
          return;
        }
        expect(chosen).toEqual(
          setsOf(all, count).reduce((a, b) => (better(worth(b, all, topology), worth(a, all, topology)) ? b : a)),
        );
      }),
    );
  });

  test("a fraction comes from the device where the least remains, and spoils no whole one that first-fit would keep", () => {
    fc.assert(
      fc.property(machines(7), shares, fc.constantFrom(100, 2_500, 5_000, 9_000), (machine, units, need) => {
        const topology = topologyOf(machine);
        const devices = partly(machine.numa.length, units);
        const chosen = chooseFraction(devices, need, topology);
        const able = devices.filter((device) => device.units >= need);
        if (able.length === 0) {
          expect(chosen).toBeUndefined();
          return;
        }
        const least = Math.min(...able.map((device) => device.units));
        expect(chosen!.units).toBe(least);
        const wholesAfter = (taken: FreeDevice) =>
          devices.filter((device) => device !== taken && device.units === WHOLE).length;
        expect(wholesAfter(chosen!)).toBeGreaterThanOrEqual(wholesAfter(able[0]!));
        if (least < WHOLE) return;
        // Only whole ones are left: the one whose loss hurts the others least.
        const all = able.map(({ index }) => index);
        const best = all.reduce((a, b) => (better(worth([b], all, topology), worth([a], all, topology)) ? b : a));
        expect(chosen!.index).toBe(best);
      }),
    );
  });

  test("several bundles one after the other: each has the best of what is left, wholes and fractions are never shared wrongly, and first-fit places no more", () => {
    const needs = fc.array(fc.constantFrom(2_500, 5_000, 9_000, WHOLE, 2 * WHOLE, 3 * WHOLE), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(machines(7), shares, needs, (machine, units, wanted) => {
        const topology = topologyOf(machine);
        const ours = partly(machine.numa.length, units).map((device) => ({ ...device }));
        const theirs = ours.map((device) => ({ ...device }));
        // Largest first, as the ledger prepares them.
        for (const need of wanted.toSorted((a, b) => b - a)) {
          const count = Math.floor(need / WHOLE);
          const chosen = count > 0 ? chooseWhole(ours, count, topology) : one(chooseFraction(ours, need, topology));
          const whole = theirs.filter((device) => device.units === WHOLE);
          const first = count > 0 ? whole.slice(0, count) : theirs.filter((device) => device.units >= need).slice(0, 1);
          if (count > 0 && whole.length >= count) expect(chosen).toBeDefined();
          for (const device of chosen ?? []) {
            expect(device.units).toBeGreaterThanOrEqual(Math.min(need, WHOLE));
            device.units -= Math.min(need, WHOLE);
          }
          if (first.length >= Math.max(1, count)) for (const device of first) device.units -= Math.min(need, WHOLE);
          const wholes = (list: readonly FreeDevice[]) => list.filter((device) => device.units === WHOLE).length;
          expect(wholes(ours)).toBeGreaterThanOrEqual(wholes(theirs));
        }
      }),
    );
  });
});

function one<T>(value: T | undefined): T[] | undefined {
  return value === undefined ? undefined : [value];
}
