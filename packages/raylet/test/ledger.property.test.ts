import type { DeviceGrant, DeviceInfo } from "@whipray/rpc";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Ledger } from "../src/ledger.ts";

const WHOLE = 10_000;
const DEVICES = 4;
const CPU = 80_000;
const MEMORY = 1_000_000;

const device = (index: number): DeviceInfo => {
  return { uuid: `gpu-${index}`, index, resource: "GPU", vendor: "fake", model: "fake", health: "ok" };
};

/** What the ledger must agree with: everything that was handed out, in plain lists. */
interface Model {
  bundles: Map<
    string,
    { pgId: string; index: number; epoch: number; units: Record<string, number>; committed: boolean }
  >;
  leases: Map<string, { units: Record<string, number>; devices: readonly DeviceGrant[]; inside: string | undefined }>;
  newest: Map<string, number>;
  quarantined: Set<string>;
}

interface Real {
  ledger: Ledger;
}

type Step = fc.Command<Model, Real>;

const gpuUnits = fc.constantFrom(0, 100, 2_500, 5_000, 9_000, WHOLE, 2 * WHOLE);
const units = fc
  .record({ CPU: fc.integer({ min: 0, max: 30_000 }), GPU: gpuUnits, memory: fc.integer({ min: 0, max: 400_000 }) })
  .map((all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value > 0)));
const pgId = fc.constantFrom("pg_a", "pg_b");
const epoch = fc.integer({ min: 1, max: 3 });
const bundleIndex = fc.integer({ min: 0, max: 2 });
const leaseId = fc.constantFrom("lease_1", "lease_2", "lease_3", "lease_4", "lease_5");

class Prepare implements Step {
  readonly pg: string;
  readonly epoch: number;
  readonly asks: { index: number; units: Record<string, number> }[];
  constructor(pg: string, at: number, asks: { index: number; units: Record<string, number> }[]) {
    this.pg = pg;
    this.epoch = at;
    this.asks = asks;
  }
  check = () => true;
  run(model: Model, { ledger }: Real): void {
    const before = JSON.stringify(ledger.view());
    const held = JSON.stringify(ledger.runningBundles());
    const asks = this.asks.map((ask) => ({ ...ask, devices: [] }));
    if (this.epoch < (model.newest.get(this.pg) ?? 0)) {
      expect(() => ledger.prepare(this.pg, this.epoch, asks)).toThrow(/older/);
      expect(JSON.stringify(ledger.view())).toBe(before);
      return;
    }
    const answer = ledger.prepare(this.pg, this.epoch, asks);
    if (!answer.ok) {
      // Never half applied.
      expect(JSON.stringify(ledger.view())).toBe(before);
      expect(JSON.stringify(ledger.runningBundles())).toBe(held);
      return;
    }
    model.newest.set(this.pg, this.epoch);
    for (const ask of this.asks) {
      const key = `${this.pg}/${ask.index}`;
      const known = model.bundles.get(key);
      if (known) expect(known).toMatchObject({ epoch: this.epoch, units: ask.units });
      else model.bundles.set(key, { pgId: this.pg, epoch: this.epoch, committed: false, ...ask });
    }
    // Prepared twice is prepared once.
    const once = JSON.stringify(ledger.view());
    expect(ledger.prepare(this.pg, this.epoch, asks)).toEqual({ ok: true });
    expect(JSON.stringify(ledger.view())).toBe(once);
    invariants(model, ledger);
  }
  toString = () => `prepare(${this.pg}, ${this.epoch}, ${JSON.stringify(this.asks)})`;
}

class Commit implements Step {
  readonly pg: string;
  readonly epoch: number;
  readonly index: number;
  constructor(pg: string, at: number, index: number) {
    this.pg = pg;
    this.epoch = at;
    this.index = index;
  }
  check = () => true;
  run(model: Model, { ledger }: Real): void {
    const known = model.bundles.get(`${this.pg}/${this.index}`);
    if (known?.epoch === this.epoch && this.epoch >= (model.newest.get(this.pg) ?? 0)) {
      ledger.commit(this.pg, this.epoch, [this.index]);
      known.committed = true;
    } else {
      expect(() => ledger.commit(this.pg, this.epoch, [this.index])).toThrow();
    }
    invariants(model, ledger);
  }
  toString = () => `commit(${this.pg}, ${this.epoch}, ${this.index})`;
}

class ReleaseBundles implements Step {
  readonly pg: string;
  readonly epoch: number;
  constructor(pg: string, at: number) {
    this.pg = pg;
    this.epoch = at;
  }
  check = () => true;
  run(model: Model, { ledger }: Real): void {
    const { indices, leaseIds } = ledger.close(this.pg, this.epoch);
    model.newest.set(this.pg, Math.max(this.epoch, model.newest.get(this.pg) ?? 0));
    for (const id of leaseIds) {
      expect(ledger.release(id)).toBe(true);
      model.leases.delete(id);
    }
    ledger.releaseBundles(this.pg, indices);
    for (const index of indices) {
      expect(model.bundles.get(`${this.pg}/${index}`)?.epoch).toBeLessThanOrEqual(this.epoch);
      model.bundles.delete(`${this.pg}/${index}`);
    }
    for (const [key, bundle] of model.bundles) {
      if (bundle.pgId === this.pg) expect(bundle.epoch, key).toBeGreaterThan(this.epoch);
    }
    invariants(model, ledger);
  }
  toString = () => `releaseBundles(${this.pg}, ${this.epoch})`;
}

class Acquire implements Step {
  readonly id: string;
  readonly units: Record<string, number>;
  readonly pg: string | undefined;
  readonly index: number;
  constructor(id: string, wanted: Record<string, number>, pg: string | undefined, index: number) {
    this.id = id;
    this.units = wanted;
    this.pg = pg;
    this.index = index;
  }
  check = () => true;
  run(model: Model, { ledger }: Real): void {
    const before = JSON.stringify(ledger.view());
    const known = model.leases.get(this.id);
    const ask = { leaseId: this.id, units: this.units, placementUnits: this.units, devices: [], pgId: this.pg };
    const answer = ledger.acquire({ ...ask, bundleIndex: this.index });
    if (known) {
      expect(answer).toMatchObject({ ok: true, lease: { units: known.units, devices: known.devices } });
      expect(JSON.stringify(ledger.view())).toBe(before);
      return;
    }
    if (!answer.ok) {
      expect(answer.reason).not.toBe("");
      expect(JSON.stringify(ledger.view())).toBe(before);
      return;
    }
    const { devices, pgId: group, bundleIndex: at } = answer.lease;
    expect(sum(devices.map((one) => one.units))).toBe(this.units["GPU"] ?? 0);
    // A fraction never spans two devices; above one only whole ones.
    if ((this.units["GPU"] ?? 0) < WHOLE) expect(devices.length).toBeLessThanOrEqual(1);
    else expect(devices.every((one) => one.units === WHOLE)).toBe(true);
    for (const { uuid } of devices) expect(model.quarantined.has(uuid)).toBe(false);
    const inside = group === undefined ? undefined : `${group}/${at}`;
    if (inside !== undefined) expect(model.bundles.get(inside)?.committed).toBe(true);
    if (inside !== undefined) expect(JSON.stringify(ledger.view())).toBe(before);
    model.leases.set(this.id, { units: this.units, devices, inside });
    invariants(model, ledger);
  }
  toString = () => `acquire(${this.id}, ${JSON.stringify(this.units)}, ${this.pg}, ${this.index})`;
}

class Release implements Step {
  readonly id: string;
  constructor(id: string) {
    this.id = id;
  }
  check = () => true;
  run(model: Model, { ledger }: Real): void {
    expect(ledger.release(this.id)).toBe(model.leases.delete(this.id));
    invariants(model, ledger);
  }
  toString = () => `release(${this.id})`;
}

class Quarantine implements Step {
  readonly uuid: string;
  readonly on: boolean;
  constructor(uuid: string, on: boolean) {
    this.uuid = uuid;
    this.on = on;
  }
  check = () => true;
  run(model: Model, { ledger }: Real): void {
    if (this.on) {
      ledger.withhold(this.uuid, "quarantined", "D state");
      model.quarantined.add(this.uuid);
    } else {
      ledger.withhold(this.uuid, "quarantined", undefined);
      model.quarantined.delete(this.uuid);
    }
    invariants(model, ledger);
  }
  toString = () => `${this.on ? "quarantine" : "restore"}(${this.uuid})`;
}

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, one) => total + one, 0);

/** Resources are conserved: what is free and what is held is what there is; no device is given out beyond itself. */
function invariants(model: Model, ledger: Ledger): void {
  const view = ledger.view();
  const outside = [...model.leases.values()].filter((lease) => lease.inside === undefined);
  for (const [name, total] of Object.entries({ CPU, memory: MEMORY })) {
    const held = sum([...model.bundles.values(), ...outside].map((one) => one.units[name] ?? 0));
    expect((view.free[name] ?? 0) + held, name).toBe(total);
  }
  const running = ledger.runningBundles();
  expect(running.length).toBe(model.bundles.size);
  for (const { pgId: group, index, epoch: at, committed } of running) {
    expect(model.bundles.get(`${group}/${index}`)).toMatchObject({ epoch: at, committed });
  }
  const gpuHeld = sum([...model.bundles.values(), ...outside].map((one) => one.units["GPU"] ?? 0));
  const gpuFree = sum(Object.values(view.devices));
  if (model.quarantined.size === 0) expect(gpuFree + gpuHeld).toBe(DEVICES * WHOLE);
  else expect(gpuFree + gpuHeld).toBeLessThanOrEqual(DEVICES * WHOLE);
  for (const uuid of model.quarantined) expect(view.devices).not.toHaveProperty(uuid);
  const perDevice = new Map<string, number>();
  for (const lease of model.leases.values()) {
    for (const one of lease.devices) perDevice.set(one.uuid, (perDevice.get(one.uuid) ?? 0) + one.units);
  }
  for (const [uuid, held] of perDevice) expect(held, uuid).toBeLessThanOrEqual(WHOLE);
  // Inside a bundle never more than the bundle.
  for (const [key, bundle] of model.bundles) {
    const inside = [...model.leases.values()].filter((lease) => lease.inside === key);
    for (const name of ["CPU", "GPU", "memory"]) {
      const held = sum(inside.map((lease) => lease.units[name] ?? 0));
      expect(held, `${key} ${name}`).toBeLessThanOrEqual(bundle.units[name] ?? 0);
    }
  }
}

const steps = [
  fc
    .tuple(
      pgId,
      epoch,
      fc.uniqueArray(fc.record({ index: bundleIndex, units }), { selector: (ask) => ask.index, minLength: 1 }),
    )
    .map((all) => new Prepare(...all)),
  fc.tuple(pgId, epoch, bundleIndex).map((all) => new Commit(...all)),
  fc.tuple(pgId, epoch).map((all) => new ReleaseBundles(...all)),
  fc
    .tuple(leaseId, units, fc.option(pgId, { nil: undefined }), fc.integer({ min: -1, max: 2 }))
    .map((all) => new Acquire(...all)),
  leaseId.map((id) => new Release(id)),
  fc.tuple(fc.constantFrom("gpu-0", "gpu-1"), fc.boolean()).map((all) => new Quarantine(...all)),
];

describe("the ledger under any history", () => {
  test("conserves resources, never half-applies, and gives everything back (reliability P4, P16)", () => {
    fc.assert(
      fc.property(fc.commands(steps, { maxCommands: 60 }), (commands) => {
        const ledger = new Ledger({
          scalars: { CPU, memory: MEMORY },
          devices: Array.from({ length: DEVICES }, (_, index) => device(index)),
        });
        const empty = ledger.view();
        const model: Model = { bundles: new Map(), leases: new Map(), newest: new Map(), quarantined: new Set() };
        fc.modelRun(() => ({ model, real: { ledger } }), commands);
        for (const id of model.leases.keys()) ledger.release(id);
        for (const group of ["pg_a", "pg_b"]) ledger.releaseBundles(group, ledger.close(group, 9).indices);
        for (const uuid of model.quarantined) ledger.withhold(uuid, "quarantined", undefined);
        expect({ ...ledger.view(), version: 0 }).toEqual({ ...empty, version: 0 });
      }),
      { numRuns: 400 },
    );
  });
});
