import { WhiprayError } from "@whipray/core";
import type { NodeRow } from "@whipray/rpc";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { groupColocatedGpus } from "../src/colocation.ts";
import { checkForkRoom, sharedDevices } from "../src/device-share.ts";
import { checkEnv, specsOf } from "../src/job.ts";
import { planRole } from "../src/placement-plan.ts";
import { assignRanks, rankOrder } from "../src/rank-order.ts";
import { nextTryMs } from "../src/retry.ts";
import { settingsOf } from "../src/settings.ts";

const POLICY = { maxRetries: 3, retryDelayMs: 1_000 };
const error = (code: string, retryable: boolean): WhiprayError => new WhiprayError({ code, message: code, retryable });

describe("areal 6.16: the rule for a further try", () => {
  test("a call that provably did not start waits 1 s, then 2 s, then fails", () => {
    expect([1, 2, 3].map((attempt) => nextTryMs(error("BUSY", true), attempt, POLICY))).toEqual([
      1_000,
      2_000,
      undefined,
    ]);
    expect(nextTryMs(error("UNREACHABLE", true), 1, POLICY)).toBe(1_000);
  });

  test("whatever may have run is not tried again", () => {
    for (const code of [
      "OUTCOME_UNKNOWN",
      "DEADLINE_EXCEEDED",
      "ENGINE_CALL",
      "TASK_FAILED",
      "ACTOR_DIED",
      "CANCELLED",
      "WORKER_CRASHED",
    ]) {
      expect(nextTryMs(error(code, false), 1, POLICY)).toBeUndefined();
      expect(nextTryMs(error(code, true), 1, POLICY)).toBeUndefined();
    }
    expect(nextTryMs(error("BUSY", false), 1, POLICY)).toBeUndefined();
    expect(nextTryMs(new Error("BUSY"), 1, POLICY)).toBeUndefined();
  });
});

describe("shares of a device", () => {
  test("a worker of one device takes 0.9 and leaves room for ten forks, the eleventh is told the rule at once", () => {
    expect(sharedDevices(1)).toBe(0.9);
    expect(sharedDevices(0.5)).toBe(0.45);
    expect(sharedDevices(4)).toBe(4);
    const room =
      (forks: number, takenDevices = 0.9) =>
      () =>
        checkForkRoom("eval", { role: "rollout", bundleDevices: 1, takenDevices, forks });
    for (let forks = 0; forks < 10; forks++) expect(room(forks)).not.toThrow();
    expect(room(10)).toThrow(/the 0\.9 rule/);
    expect(room(0, 1)).toThrow(/the 0\.9 rule/);
  });
});

describe("plans of a role", () => {
  const specs = (...tasks: object[]) => specsOf({ role: "r", replicas: tasks.length, tasks });
  const cluster = { device: "GPU", nGpusPerNode: 8 };

  test("all tasks of a job have the same placement", () => {
    const mixed = specs({ gpu: 1 }, { gpu: 1, rayPlacementStrategy: "separate" });
    expect(() => planRole("r", mixed, cluster)).toThrow("same rayPlacementStrategy");
  });

  test("AReaL's defaults: 8 CPUs, no device, 32 GiB, two ports, shared, PACK", () => {
    const [spec] = specs({});
    expect(spec).toMatchObject({
      cpu: 8,
      gpu: 0,
      mem: 32,
      portCount: 2,
      rayPlacementStrategy: "shared",
      strategy: "PACK",
    });
    expect(planRole("r", [spec!], cluster).groups).toEqual([[{ CPU: 8, memory: 32 * 2 ** 30 }]]);
  });

  test("placement by node puts several workers into one bundle and says so", () => {
    const plan = planRole("r", specs(...Array(4).fill({ cpu: 1, gpu: 4, rayPlacementStrategy: "node" })), cluster);
    expect(plan.workers.map((worker) => worker.bundle)).toEqual([0, 0, 1, 1]);
    expect(plan.sharesBundles).toBe(true);
  });

  test("bad amounts are refused by name", () => {
    for (const bad of [
      { cpu: -1 },
      { gpu: Number.NaN },
      { mem: Number.POSITIVE_INFINITY },
      { portCount: 1.5 },
      { portCount: 257 },
    ]) {
      expect(() => specs(bad)).toThrow(Object.keys(bad)[0]);
    }
    expect(() => specs({ rayPlacementStrategy: "bundled" })).toThrow("shared, separate, deferred, node");
  });
});

describe("rank order", () => {
  const node = (nodeId: string, ip: string): NodeRow => ({ nodeId, ip, name: nodeId }) as NodeRow;
  const nodes = [node("node_x", "10.0.0.10"), node("node_y", "10.0.0.9")];
  const slot = (nodeId: string, firstDevice: number, bundle = 0) => ({ group: 0, bundle, nodeId, firstDevice });

  test("nodes by address as numbers, then devices", () => {
    const order = rankOrder([slot("node_x", 1), slot("node_x", 0), slot("node_y", 7)], nodes);
    expect(order.map((one) => [one.nodeId, one.firstDevice])).toEqual([
      ["node_y", 7],
      ["node_x", 0],
      ["node_x", 1],
    ]);
  });

  test("a worker with needs of its own keeps the slot that was cut for it", () => {
    const slots = [slot("node_x", 0, 0), slot("node_y", 0, 1), slot("node_y", 1, 2)];
    expect(assignRanks(["big", "small", "small"], slots, nodes)[0]).toBe(slots[0]);
  });

  test("every slot is used once, whatever the kinds", () => {
    const kinds = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(kinds, fc.infiniteStream(fc.nat(7)), (all, devices) => {
        const slots = all.map((_, index) =>
          slot(index % 2 ? "node_x" : "node_y", devices.next().value as number, index),
        );
        const given = assignRanks(all, slots, nodes);
        expect(new Set(given).size).toBe(all.length);
        for (const [index, one] of given.entries()) expect(all[slots.indexOf(one)]).toBe(all[index]);
      }),
    );
  });
});

describe("grouped colocation", () => {
  const devices = (...perNode: number[]) =>
    perNode
      .flatMap((count, index) => Array.from({ length: count }, () => ({ worker: 0, nodeId: `node_${index}` })))
      .map((one, worker) => ({ ...one, worker }));

  test("groups are neighbours and never cross nodes", () => {
    const groups = groupColocatedGpus(devices(4, 4), 2);
    expect(groups.map((group) => group.map((one) => one.worker))).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
      [6, 7],
    ]);
    for (const group of groups) expect(new Set(group.map((one) => one.nodeId)).size).toBe(1);
  });

  test("a node that does not divide is refused", () => {
    expect(() => groupColocatedGpus(devices(3, 1), 2)).toThrow("do not divide into groups of 2");
  });
});

test("areal 6.17: an environment is a map of texts, whose values may hold = and ,", () => {
  for (const bad of [null, [], "A=1", 7, { A: 1 }, { A: null }]) expect(() => checkEnv(bad)).toThrow(/must be/);
  expect(() => checkEnv({ A: "x=1,y=2" })).not.toThrow();
});

test("areal 6.26: the experiment's configuration wins over options; names are checked", () => {
  const settings = settingsOf({
    experimentName: "mine",
    nGpusPerNode: 4,
    config: { experimentName: "exp", trialName: "t1", nGpusPerNode: 16 },
  });
  expect(settings).toMatchObject({ namePrefix: "exp.t1.", nGpusPerNode: 16, startupTimeoutMs: 300_000 });
  expect(() => settingsOf({ experimentName: "a b" })).toThrow("experimentName and trialName");
  expect(() => settingsOf({ nGpusPerNode: 0 })).toThrow("nGpusPerNode");
  expect(() => settingsOf({ startupTimeoutMs: Number.NaN })).toThrow("startupTimeoutMs");
});

test("areal 6.26: without names there is no prefix and no error (AReaL: ValueError); an empty name is refused", () => {
  expect(settingsOf({}).namePrefix).toBe("");
  expect(settingsOf({ config: {} }).namePrefix).toBe("");
  expect(settingsOf({ trialName: "t1" }).namePrefix).toBe("t1.");
  expect(() => settingsOf({ experimentName: "" })).toThrow("1 to 40 letters");
  expect(() => settingsOf({ config: { trialName: "" } })).toThrow("1 to 40 letters");
});
