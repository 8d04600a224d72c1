import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { splitBundles } from "../src/bundle-split.ts";
import { type SchedulingSpec, specsOf } from "../src/job.ts";
import { nodePlan } from "../src/node-plan.ts";

const GIB = 2 ** 30;
const full = (spec: SchedulingSpec) => specsOf({ role: "r", replicas: 1, tasks: [spec] })[0]!;
const sum = (bundles: readonly Readonly<Record<string, number>>[], name: string): number =>
  bundles.reduce((total, bundle) => total + (bundle[name] ?? 0), 0);

describe("areal 6.18: the node plan", () => {
  test("32 workers of one device on nodes of 8 are four full nodes", () => {
    const plan = nodePlan(full({ cpu: 1, gpu: 1, mem: 1 }), 32, 8, "GPU");
    expect(plan.bundles.map((bundle) => bundle["GPU"])).toEqual([8, 8, 8, 8]);
    expect(plan.workers).toEqual([8, 8, 8, 8]);
  });

  test("6 workers of 2 CPUs and 1 device are one bundle of 12 and 6", () => {
    const plan = nodePlan(full({ cpu: 2, gpu: 1, mem: 1 }), 6, 8, "GPU");
    expect(plan.bundles).toEqual([{ CPU: 12, GPU: 6, memory: 6 * GIB }]);
  });

  test("2 instances of 16 devices on nodes of 8 are four bundles, and a worker in every second", () => {
    const plan = nodePlan(full({ cpu: 16, gpu: 16, mem: 32 }), 2, 8, "GPU");
    expect(plan.bundles).toHaveLength(4);
    expect(plan.bundles[0]).toEqual({ CPU: 8, GPU: 8, memory: 16 * GIB });
    expect(plan.workers).toEqual([1, 0, 1, 0]);
  });

  test("without devices there is one bundle of CPUs for all", () => {
    expect(nodePlan(full({ cpu: 2, gpu: 0, mem: 1 }), 5, 8, "GPU").bundles).toEqual([{ CPU: 10, memory: 5 * GIB }]);
  });

  test.each([
    [{ cpu: 15, gpu: 16, mem: 32 }, "cpu 15 does not divide by the 2 nodes"],
    [{ cpu: 16, gpu: 16, mem: 31 }, "mem 31 does not divide by the 2 nodes"],
    [{ cpu: 12, gpu: 12, mem: 12 }, "no multiple of its 8 devices"],
    [{ cpu: 1, gpu: 1.5, mem: 1 }, "must be a whole number"],
  ])("%o is refused", (spec, message) => {
    expect(() => nodePlan(full(spec), 1, 8, "GPU")).toThrow(message);
  });

  test("every worker has a place, no bundle is larger than a node, and nothing is lost", () => {
    const inputs = fc.record({
      gpu: fc.integer({ min: 1, max: 8 }),
      replicas: fc.integer({ min: 1, max: 64 }),
      node: fc.integer({ min: 8, max: 16 }),
    });
    fc.assert(
      fc.property(inputs, ({ gpu, replicas, node }) => {
        const plan = nodePlan(full({ cpu: gpu, gpu, mem: gpu }), replicas, node, "GPU");
        expect(plan.workers.reduce((total, count) => total + count, 0)).toBe(replicas);
        expect(sum(plan.bundles, "GPU")).toBe(gpu * replicas);
        for (const bundle of plan.bundles) expect(bundle["GPU"]).toBeLessThanOrEqual(node);
      }),
    );
  });
});

describe("the split of a deferred worker", () => {
  test("24 devices on nodes of 16 are a full node and a rest", () => {
    const bundles = splitBundles(full({ cpu: 1, gpu: 24, mem: 3 }), 16, "GPU");
    expect(bundles).toEqual([
      { CPU: 1, GPU: 16, memory: 2 * GIB },
      { GPU: 8, memory: GIB },
    ]);
  });

  test("no bundle is larger than a node, and the sum is exact", () => {
    const inputs = fc.record({
      cpu: fc.integer({ min: 0, max: 200 }),
      gpu: fc.integer({ min: 1, max: 100 }),
      mem: fc.integer({ min: 0, max: 500 }),
      node: fc.integer({ min: 1, max: 16 }),
    });
    fc.assert(
      fc.property(inputs, ({ cpu, gpu, mem, node }) => {
        const bundles = splitBundles(full({ cpu, gpu, mem }), node, "NPU");
        expect(sum(bundles, "NPU")).toBe(gpu);
        expect(sum(bundles, "CPU")).toBe(cpu);
        expect(sum(bundles, "memory")).toBe(mem * GIB);
        for (const bundle of bundles) {
          expect(bundle["NPU"]).toBeLessThanOrEqual(node);
          expect(bundle["CPU"] ?? 0).toBeGreaterThanOrEqual(0);
        }
      }),
    );
  });
});
