import { describe, expect, test } from "vitest";
import { chooseNode, type NodeSpace, type NodeWish } from "../src/node-choice.ts";

const WHOLE = 10_000;

function node(nodeId: string, cpus: [free: number, total: number], labels: Record<string, string> = {}): NodeSpace {
  return { nodeId, labels, free: { CPU: cpus[0] * WHOLE }, total: { CPU: cpus[1] * WHOLE }, devices: [] };
}

function withGpus(space: NodeSpace, ...free: number[]): NodeSpace {
  const devices = free.map((share) => ({ resource: "GPU", units: share * WHOLE }));
  return { ...space, devices, total: { ...space.total, GPU: free.length * WHOLE } };
}

const cpus = (amount: number, more: Partial<NodeWish> = {}): NodeWish => ({ units: { CPU: amount * WHOLE }, ...more });
const gpus = (amount: number): NodeWish => ({ units: { GPU: amount * WHOLE } });
const HERE = { go: "here" };
const there = (nodeId: string, wait = false) => ({ go: "there", nodeId, wait });

describe("DEFAULT (Ray: hybrid)", () => {
  test("stays here until the fullest resource is half used, then takes the least used node", () => {
    const others = [node("b", [8, 8])];
    expect(chooseNode(cpus(1), node("a", [6, 8]), others, 0)).toEqual(HERE);
    expect(chooseNode(cpus(1), node("a", [4, 8]), others, 0)).toEqual(there("b"));
    expect(chooseNode(cpus(1), node("a", [4, 8]), [node("b", [4, 8])], 0)).toEqual(HERE);
  });

  test("keeps nodes with devices for those who need them", () => {
    const withDevices = withGpus(node("a", [8, 8]), 1);
    expect(chooseNode(cpus(1), withDevices, [node("b", [2, 8])], 0)).toEqual(there("b"));
    expect(chooseNode(gpus(1), node("b", [8, 8]), [withDevices], 0)).toEqual(there("a"));
  });

  test("a fraction needs one device that has it, a whole one a device that nobody shares", () => {
    const full = node("a", [8, 8]);
    const shared = withGpus(node("b", [8, 8]), 0.5, 0.5);
    expect(chooseNode(gpus(0.5), full, [shared], 0)).toEqual(there("b"));
    expect(chooseNode(gpus(0.6), full, [shared], 0)).toEqual(there("b", true));
    expect(chooseNode(gpus(1), full, [shared], 0)).toEqual(there("b", true));
  });

  test("with room nowhere it waits here, or where it can ever run", () => {
    expect(chooseNode(cpus(8), node("a", [0, 8]), [node("b", [0, 8])], 0)).toEqual(HERE);
    expect(chooseNode(cpus(8), node("a", [4, 4]), [node("b", [0, 8])], 0)).toEqual(there("b", true));
  });

  test("infeasible: says what is short", () => {
    expect(chooseNode(cpus(50), node("a", [4, 4]), [node("b", [0, 8])], 0)).toEqual({
      go: "nowhere",
      why: "infeasible: 50 CPU wanted, the largest node has 8 CPU",
    });
  });
});

describe("SPREAD", () => {
  test("goes over the nodes with room in turn", () => {
    const own = node("a", [8, 8]);
    const others = [node("b", [8, 8]), node("c", [0, 8]), node("d", [8, 8])];
    const choices = [0, 1, 2, 3].map((turn) => chooseNode(cpus(1, { spread: true }), own, others, turn));
    expect(choices).toEqual([HERE, there("b"), there("d"), HERE]);
  });
});

describe("labels", () => {
  const own = node("a", [8, 8], { zone: "one" });
  const others = [node("b", [8, 8], { zone: "two" }), node("c", [0, 8], { zone: "three" })];

  test("choose among the nodes that meet them", () => {
    expect(chooseNode(cpus(1, { labels: { zone: "!one" } }), own, others, 0)).toEqual(there("b"));
    expect(chooseNode(cpus(1, { labels: { zone: "in(one,four)" } }), own, others, 0)).toEqual(HERE);
  });

  test("the first selector that a node with room meets counts; without room the first that any node meets", () => {
    const wish = (...zones: string[]): NodeWish => {
      const [labels = {}, ...fallback] = zones.map((zone) => ({ zone }));
      return cpus(1, { labels, fallback });
    };
    expect(chooseNode(wish("three", "two"), own, others, 0)).toEqual(there("b"));
    expect(chooseNode(wish("nine", "three"), own, others, 0)).toEqual(there("c", true));
    expect(chooseNode(wish("nine", "ten"), own, others, 0)).toEqual({
      go: "nowhere",
      why: "infeasible: no node has the labels zone=nine, or zone=ten",
    });
  });
});

describe("NodeAffinity", () => {
  test("hard: that node or none, however busy; soft: another one when it is gone or too small", () => {
    const own = node("a", [8, 8]);
    const others = [node("b", [0, 8])];
    expect(chooseNode(cpus(1, { nodeId: "b" }), own, others, 0)).toEqual(there("b", true));
    expect(chooseNode(cpus(1, { nodeId: "z" }), own, others, 0)).toMatchObject({ go: "nowhere", why: /not alive/ });
    expect(chooseNode(cpus(9, { nodeId: "b" }), own, others, 0)).toMatchObject({ go: "nowhere", why: /too small/ });
    expect(chooseNode(cpus(1, { nodeId: "z", nodeSoft: true }), own, others, 0)).toEqual(HERE);
  });
});
