import { describe, expect, test } from "vitest";
import { REASONS_LIMIT } from "../src/limits.ts";
import { placeActor } from "../src/placement/actor-policy.ts";
import { explain } from "../src/placement/explain.ts";
import { place } from "../src/placement/place.ts";
import type { NodeRoom } from "../src/placement/room.ts";
import { node, request, units } from "./rooms.ts";

const among = (rooms: readonly NodeRoom[]) => (nodeId: string) => rooms.find((room) => room.nodeId === nodeId);

const nodesOf = (placement: ReturnType<typeof place>) => placement?.map((one) => one.nodeId);
const uuidsOf = (placement: ReturnType<typeof place>) =>
  placement?.map((one) => one.devices.map((device) => device.uuid).join("+"));

describe("actors", () => {
  test("SPREAD goes over the nodes with room in turn; labels choose among nodes", () => {
    const nodes = [
      node("a", { CPU: 2 }),
      node("b", { CPU: 0 }),
      node("c", { CPU: 2 }, [], { labels: { zone: "far" } }),
    ];
    const one = { units: units({ CPU: 1 }) };
    const where = (more: object) => placeActor({ ...one, ...more }, nodes, among(nodes))?.nodeId;
    expect([0, 1, 2].map((turn) => where({ turn }))).toEqual(["a", "c", "a"]);
    expect(where({ labels: { zone: "far" } })).toBe("c");
    expect(where({ labels: { zone: "!far" } })).toBe("a");
    expect(where({ labels: { zone: "near" } })).toBeUndefined();
  });
});

describe("policies", () => {
  test("ray 8.2: PACK puts both bundles on one node", () => {
    expect(
      nodesOf(place(request("PACK", [{ CPU: 2 }, { CPU: 2 }]), [node("a", { CPU: 4 }), node("b", { CPU: 4 })])),
    ).toEqual(["a", "a"]);
  });

  test("PACK prefers the node that it leaves fullest, and fills node by node in bundle order", () => {
    expect(nodesOf(place(request("PACK", [{ CPU: 2 }]), [node("a", { CPU: 8 }), node("b", { CPU: 3 })]))).toEqual([
      "b",
    ]);
    const four = request("PACK", [{ GPU: 1 }, { GPU: 1 }, { GPU: 1 }, { GPU: 1 }]);
    expect(nodesOf(place(four, [node("a", {}, [1, 1]), node("b", {}, [1, 1])]))).toEqual(["a", "a", "b", "b"]);
  });

  test("ray 8.3: STRICT_PACK takes one node, or none", () => {
    const both = request("STRICT_PACK", [
      { CPU: 2, memory: 100 },
      { CPU: 2, memory: 100 },
    ]);
    expect(nodesOf(place(both, [node("a", { CPU: 3, memory: 500 }), node("b", { CPU: 4, memory: 200 })]))).toEqual([
      "b",
      "b",
    ]);
    expect(place(both, [node("a", { CPU: 3, memory: 500 }), node("b", { CPU: 4, memory: 199 })])).toBeUndefined();
  });

  test("ray 8.4: SPREAD takes different nodes when it can, else the one with fewest bundles", () => {
    const two = [node("a", { CPU: 4 }), node("b", { CPU: 4 })];
    expect(new Set(nodesOf(place(request("SPREAD", [{ CPU: 2 }, { CPU: 2 }]), two))).size).toBe(2);
    const three = nodesOf(place(request("SPREAD", [{ CPU: 1 }, { CPU: 1 }, { CPU: 1 }]), two));
    expect(new Set(three).size).toBe(2);
  });

  test("ray 8.5: STRICT_SPREAD takes pairwise different nodes, moving a bundle aside where that helps", () => {
    const nodes = [node("a", { CPU: 1 }), node("b", { CPU: 9, disk: 1 }), node("c", { CPU: 9 })];
    const wanted = request("STRICT_SPREAD", [{ CPU: 1 }, { CPU: 2 }, { disk: 1 }]);
    expect(nodesOf(place(wanted, nodes))).toEqual(["a", "c", "b"]);
    expect(
      place(request("STRICT_SPREAD", [{ CPU: 1 }, { CPU: 1 }], { kept: ["b"] }), [nodes[1]!, nodes[2]!]),
    ).toBeUndefined();
  });

  test("surviving bundles: STRICT_PACK stays with them, PACK comes back to them", () => {
    const nodes = [node("a", { CPU: 2 }), node("b", { CPU: 8 })];
    expect(nodesOf(place(request("PACK", [{ CPU: 2 }], { kept: ["b"] }), nodes))).toEqual(["b"]);
    expect(nodesOf(place(request("STRICT_PACK", [{ CPU: 2 }], { kept: ["b"] }), nodes))).toEqual(["b"]);
  });

  test("work without devices avoids nodes that have some", () => {
    const nodes = [node("gpu", { CPU: 4 }, [1]), node("cpu", { CPU: 4 })];
    expect(nodesOf(place(request("PACK", [{ CPU: 1 }]), nodes))).toEqual(["cpu"]);
    expect(placeActor({ units: units({ CPU: 1 }) }, nodes, among(nodes))?.nodeId).toBe("cpu");
  });

  test("labels: value, !value, in(…), !in(…)", () => {
    const nodes = [
      node("a", { CPU: 1 }, [], { labels: { zone: "x" } }),
      node("b", { CPU: 1 }, [], { labels: { zone: "y" } }),
    ];
    const where = (zone: string) => nodesOf(place(request("PACK", [{ CPU: 1 }], { labels: { zone } }), nodes))?.[0];
    expect([where("y"), where("!x"), where("in(z, y)"), where("!in(x,z)"), where("z")]).toEqual([
      "b",
      "b",
      "b",
      "b",
      undefined,
    ]);
  });
});

describe("devices", () => {
  test("whole devices: lowest index first, in one link domain", () => {
    const linked = node("a", {}, [1, 1, 1, 1, 1, 1], { linkDomain: (index) => (index < 4 ? "left" : "right") });
    expect(uuidsOf(place(request("PACK", [{ GPU: 2 }]), [linked]))).toEqual(["a-gpu-4+a-gpu-5"]);
    expect(uuidsOf(place(request("PACK", [{ GPU: 3 }]), [linked]))).toEqual(["a-gpu-0+a-gpu-1+a-gpu-2"]);
    expect(uuidsOf(place(request("PACK", [{ GPU: 2 }]), [node("b", {}, [1, 1, 1])]))).toEqual(["b-gpu-0+b-gpu-1"]);
  });

  test("STRICT links: all devices of a bundle in one domain, however the bundles come", () => {
    const linked = node("a", {}, [1, 1, 1, 1, 1, 1, 1], { linkDomain: (index) => (index < 4 ? "left" : "right") });
    const strict = (...gpus: number[]) => {
      const wanted = request(
        "STRICT_PACK",
        gpus.map((GPU) => ({ GPU })),
        { links: "STRICT" },
      );
      return { wanted, found: place(wanted, [linked]) };
    };
    expect(uuidsOf(strict(3).found)).toEqual(["a-gpu-4+a-gpu-5+a-gpu-6"]);
    expect(uuidsOf(strict(2, 2, 3).found)).toEqual(["a-gpu-0+a-gpu-1", "a-gpu-2+a-gpu-3", "a-gpu-4+a-gpu-5+a-gpu-6"]);
    const { wanted, found } = strict(5);
    expect(found).toBeUndefined();
    expect(explain(wanted, [linked], [linked])[0]?.text).toBe(
      "needs 5 GPU with all devices in one link domain; no node can ever hold it: the closest node a is 1 GPU short (7 GPU there)",
    );
  });

  test("a fraction takes the tightest device and never spans two", () => {
    expect(uuidsOf(place(request("PACK", [{ GPU: 0.4 }]), [node("a", {}, [1, 0.5, 0.45])]))).toEqual(["a-gpu-2"]);
    expect(place(request("PACK", [{ GPU: 0.6 }]), [node("a", {}, [0.5, 0.5])])).toBeUndefined();
    expect(uuidsOf(place(request("PACK", [{ GPU: 0.6 }, { GPU: 0.6 }]), [node("a", {}, [1, 1])]))).toEqual([
      "a-gpu-0",
      "a-gpu-1",
    ]);
  });

  test("fractions that best fit would pack badly are still found", () => {
    const wanted = [0.5, 0.34, 0.33, 0.33, 0.3, 0.2].map((GPU) => ({ GPU }));
    expect(place(request("STRICT_PACK", wanted), [node("a", {}, [1, 1])])).toBeDefined();
  });

  test("ray 8.12: two one-device bundles get different devices", () => {
    expect(new Set(uuidsOf(place(request("PACK", [{ GPU: 1 }, { GPU: 1 }]), [node("a", {}, [1, 1])]))).size).toBe(2);
  });
});

describe("explain", () => {
  test("infeasible: which resource, how much short, on which node (reliability B21, ray #47792)", () => {
    const nodes = [node("a", { CPU: 1 }), node("b", { CPU: 1 })];
    expect(explain(request("PACK", [{ CPU: 2 }]), nodes, nodes)).toEqual([
      {
        bundle: 0,
        kind: "infeasible",
        text: "needs 2 CPU; no node can ever hold it: the closest node a is 1 CPU short (1 CPU there)",
        missing: { CPU: 10_000 },
        nodeId: "a",
      },
    ]);
  });

  test("busy: only the bundles that are in the way", () => {
    const total = [node("a", {}, [1, 1])];
    const reasons = explain(request("PACK", [{ GPU: 1 }, { GPU: 1 }]), [node("a", {}, [1, 0])], total);
    expect(reasons).toMatchObject([{ bundle: 1, kind: "busy", missing: { GPU: 10_000 }, nodeId: "a" }]);
  });

  test("devices that are there but not offered are named with the reason (reliability F33)", () => {
    const now = [node("a", {}, [1, 0], { withheld: ["GPU 1 (busy: foreign pid 77)"] })];
    const [reason] = explain(request("PACK", [{ GPU: 2 }]), now, [node("a", {}, [1, 1])]);
    expect(reason?.text).toBe(
      "needs 2 GPU; the closest node a is 1 GPU short (1 GPU there); not offered there: GPU 1 (busy: foreign pid 77)",
    );
  });

  test("strategy: each bundle fits, but not as STRICT_SPREAD or STRICT_PACK want them", () => {
    const nodes = [node("a", { CPU: 4 }), node("b", { CPU: 4 })];
    const bundles = [{ CPU: 2 }, { CPU: 2 }, { CPU: 2 }];
    expect(explain(request("STRICT_SPREAD", bundles), nodes, nodes)).toMatchObject([{ kind: "strategy", bundle: 2 }]);
    expect(explain(request("STRICT_PACK", bundles), nodes, nodes)).toHaveLength(3);
    expect(explain(request("STRICT_PACK", bundles), nodes, nodes)[0]).toMatchObject({
      kind: "strategy",
      missing: { CPU: 20_000 },
    });
    expect(explain(request("PACK", bundles), nodes, nodes)).toEqual([]);
  });

  test("no node, no label, and at most REASONS_LIMIT reasons", () => {
    expect(explain(request("PACK", [{ CPU: 1 }]), [], [])[0]?.text).toContain("no usable node");
    const labelled = explain(
      request("PACK", [{ CPU: 1 }], { labels: { zone: "q" } }),
      [node("a", { CPU: 1 })],
      [node("a", { CPU: 1 })],
    );
    expect(labelled[0]?.text).toContain("has the labels zone=q");
    const many = request(
      "PACK",
      Array.from({ length: REASONS_LIMIT + 5 }, () => ({ CPU: 1 })),
    );
    expect(explain(many, [], [])).toHaveLength(REASONS_LIMIT);
  });
});

describe("actors", () => {
  const total = [node("a", { CPU: 4 }), node("b", { CPU: 4 })];
  test("pack below half, then spread", () => {
    const at = (a: number, b: number) =>
      placeActor({ units: units({ CPU: 1 }) }, [node("a", { CPU: a }), node("b", { CPU: b })], among(total))?.nodeId;
    expect([at(4, 4), at(3, 4), at(2, 4), at(1, 2), at(2, 1), at(0, 0)]).toEqual(["a", "b", "b", "b", "a", undefined]);
  });
  test("hard affinity waits for its node, soft goes elsewhere", () => {
    const now = [node("a", { CPU: 0 }), node("b", { CPU: 4 })];
    expect(placeActor({ units: units({ CPU: 1 }), nodeId: "a" }, now, among(total))).toBeUndefined();
    expect(placeActor({ units: units({ CPU: 1 }), nodeId: "a", nodeSoft: true }, now, among(total))?.nodeId).toBe("b");
  });
});
