import type { NodeRegister } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { CLAIM_SETTLE_MS, DEAD_MS, DEAD_NODES_KEPT, NODES_LIMIT, PROBE_AFTER_MS, SUSPECT_MS } from "../src/limits.ts";
import type { NodeEffect } from "../src/node-effect.ts";
import { NodeTable } from "../src/node-table.ts";
import { Room } from "../src/placement/room.ts";

function request(name: string, more: Partial<NodeRegister> = {}): NodeRegister {
  return {
    ...{
      nodeId: `node_${name}`,
      inc: `inc_${name}1`,
      epoch: 0,
      name,
      hostname: "h",
      ip: "127.0.0.1",
      pid: 1,
      version: "0",
    },
    ...{ total: { CPU: 40_000 }, devices: [], labels: {}, actors: [], bundles: [] },
    view: { version: 1, free: { CPU: 40_000 }, devices: {} },
    ...more,
  };
}

function device(uuid: string, index = 0) {
  return { uuid, index, resource: "GPU", vendor: "fake", model: "fake", health: "ok" as const };
}

const table = () => new NodeTable({ headOutageMs: 600_000 });
const kinds = (effects: NodeEffect[]) => effects.map((effect) => effect.kind);

/** A table with one open node, beating until `beatsUntilMs`. */
function joined(beatsUntilMs = 0, more: Partial<NodeRegister> = {}): NodeTable {
  const nodes = table();
  const { epoch } = nodes.register(request("a", more), 0);
  nodes.opened("node_a", epoch);
  for (let at = 1_000; at <= beatsUntilMs; at += 1_000) nodes.beat("node_a", epoch, at);
  return nodes;
}

test("F14: beats of a node that hears no answers do not renew it; the first after an answer does", () => {
  const nodes = joined(3_000);
  for (let at = 4_000; at < 3_000 + DEAD_MS; at += 1_000) {
    expect(nodes.beat("node_a", 1, at, Math.max(at - 3_000, SUSPECT_MS))).toEqual([]);
    nodes.tick(at);
  }
  expect(nodes.state("node_a")).toBe("SUSPECT");
  expect(kinds(nodes.beat("node_a", 1, 2_900 + DEAD_MS, 1_000))).toEqual(["alive"]);
  expect(kinds(nodes.tick(2_900 + 2 * DEAD_MS))).toContain("dead");
});

describe("registration", () => {
  test("epochs grow with each new incarnation; the same incarnation keeps its epoch", () => {
    const nodes = joined();
    expect(nodes.register(request("a", { epoch: 1 }), 10).epoch).toBe(1);
    nodes.linkLost("node_a");
    expect(nodes.register(request("a", { inc: "inc_a2" }), 20).epoch).toBe(2);
    expect(nodes.register(request("a", { inc: "inc_a3", epoch: 9 }), 30).epoch).toBe(10);
  });

  test("a new incarnation of a suspect node ends the work of the old one first", () => {
    const nodes = joined();
    nodes.linkLost("node_a");
    const { effects } = nodes.register(request("a", { inc: "inc_a2" }), 20);
    expect(effects[1]).toMatchObject({ kind: "dead", nodeId: "node_a", epoch: 1 });
  });

  test("B37: the id of a live raylet, and a device that another node offers, are refused; both may be tried again", () => {
    const nodes = joined(0, { devices: [device("GPU-1")] });
    const taken = { code: "NODE_ID_IN_USE", retryable: true };
    expect(() => nodes.register(request("a", { inc: "inc_other" }), 1)).toThrow(expect.objectContaining(taken));
    const twice = { code: "DUPLICATE_DEVICE", retryable: true, details: { uuid: "GPU-1", nodeId: "node_a" } };
    expect(() => nodes.register(request("b", { devices: [device("GPU-1")] }), 1)).toThrow(
      expect.objectContaining(twice),
    );
    expect(() => nodes.register(request("c", { devices: [device("GPU-2"), device("GPU-2", 1)] }), 1)).toThrow("GPU-2");
    expect(nodes.state("node_b")).toBe("UNKNOWN");
    nodes.leave("node_a", 1, "done");
    expect(nodes.register(request("b", { devices: [device("GPU-1")] }), 2).epoch).toBe(1);
  });

  test("nothing is placed on a node before it has been told that it is registered", () => {
    const nodes = table();
    nodes.register(request("a"), 0);
    nodes.beat("node_a", 1, 10);
    expect(nodes.index().all()).toEqual([]);
    expect(kinds(nodes.opened("node_a", 1))).toEqual(["alive", "probe"]);
    expect(nodes.index().all()).toHaveLength(1);
  });

  test("limits: NODES_LIMIT live nodes, DEAD_NODES_KEPT dead ones", () => {
    const nodes = table();
    for (let i = 0; i < NODES_LIMIT; i++) nodes.register(request(`n${i}`), 0);
    expect(() => nodes.register(request("late"), 0)).toThrow(expect.objectContaining({ code: "LIMIT" }));
    const dying = table();
    const forgotten: string[] = [];
    for (let i = 0; i < DEAD_NODES_KEPT + 3; i++) {
      const { effects } = dying.register(request(`n${i}`), 0);
      forgotten.push(...effects.flatMap((effect) => (effect.kind === "forget" ? [effect.nodeId] : [])));
      dying.leave(`node_n${i}`, 1, "done");
    }
    expect(forgotten).toEqual(["node_n0", "node_n1"]);
  });
});

describe("life and death", () => {
  test("P2, F2: silence makes it suspect at 3 s and dead at 10 s, not before", () => {
    const nodes = joined(5_000);
    const at = (ms: number) => kinds(nodes.tick(5_000 + ms));
    expect(at(SUSPECT_MS - 1)).toEqual([]);
    expect(at(SUSPECT_MS)).toEqual(["suspect"]);
    expect(nodes.index().all()).toEqual([]);
    expect(nodes.totals().all()).toHaveLength(1);
    expect(at(DEAD_MS - 1)).toEqual([]);
    expect(at(DEAD_MS)).toEqual(["save", "dead"]);
    expect(nodes.state("node_a")).toBe("DEAD");
  });

  test("F11: a beat after 5 s of partition makes it alive again; nothing was taken", () => {
    const nodes = joined(5_000);
    nodes.tick(9_000);
    expect(nodes.state("node_a")).toBe("SUSPECT");
    expect(kinds(nodes.beat("node_a", 1, 10_000))).toEqual(["alive"]);
  });

  test("F12–F14: a beat that comes after its death is refused: it registers again with a higher epoch", () => {
    const nodes = joined();
    nodes.tick(DEAD_MS);
    const stale = expect.objectContaining({ code: "STALE_EPOCH" });
    expect(() => nodes.beat("node_a", 1, DEAD_MS + 1)).toThrow(stale);
    expect(() => nodes.viewed("node_a", 1, { version: 9, free: {}, devices: {} })).toThrow(stale);
    expect(nodes.register(request("a", { epoch: 1 }), DEAD_MS + 2).epoch).toBe(2);
    expect(() => nodes.beat("node_a", 1, DEAD_MS + 3)).toThrow(stale);
  });

  test("a lost connection is suspect at once and stays so, beats or not, until it registers again", () => {
    const nodes = joined();
    expect(nodes.linkLost("node_a")).toEqual([{ kind: "suspect", nodeId: "node_a", reason: "connection lost" }]);
    expect(nodes.linkLost("node_a")).toEqual([]);
    expect(nodes.beat("node_a", 1, 1_000)).toEqual([]);
    expect(nodes.state("node_a")).toBe("SUSPECT");
    nodes.register(request("a", { epoch: 1 }), 2_000);
    nodes.opened("node_a", 1);
    expect(nodes.state("node_a")).toBe("ALIVE");
  });

  test("P1, F1: a raylet whose port refuses connections twice in a row is dead within 3 s of its last beat", () => {
    const nodes = joined();
    nodes.probed("node_a", "inc_a1", "there", 10);
    expect(nodes.tick(PROBE_AFTER_MS)).toEqual([{ kind: "probe", nodeId: "node_a", inc: "inc_a1" }]);
    expect(nodes.probed("node_a", "inc_a1", "gone", PROBE_AFTER_MS + 10)).toEqual([]);
    expect(kinds(nodes.tick(PROBE_AFTER_MS + 500))).toEqual(["probe"]);
    const dead = nodes.probed("node_a", "inc_a1", "gone", PROBE_AFTER_MS + 510);
    expect(dead.at(-1)).toMatchObject({ kind: "dead", reason: "raylet process is gone" });
  });

  test("an answer counts only if somebody was seen there before, while it is silent, and of the same incarnation", () => {
    const never = joined();
    for (let i = 0; i < 5; i++) expect(never.probed("node_a", "inc_a1", "gone", 2_000 + i)).toEqual([]);
    const nodes = joined();
    nodes.probed("node_a", "inc_a1", "there", 10);
    for (let i = 0; i < 5; i++) expect(nodes.probed("node_a", "inc_a1", "gone", 20 + i)).toEqual([]);
    for (let i = 0; i < 5; i++) expect(nodes.probed("node_a", "inc_a0", "gone", 2_000 + i)).toEqual([]);
    nodes.probed("node_a", "inc_a1", "gone", 2_000);
    nodes.probed("node_a", "inc_a1", "unknown", 2_100);
    expect(nodes.probed("node_a", "inc_a1", "gone", 2_200)).toEqual([]);
    nodes.beat("node_a", 1, 2_300);
    expect(nodes.probed("node_a", "inc_a1", "gone", 3_900)).toEqual([]);
    expect(nodes.state("node_a")).toBe("ALIVE");
  });
});

describe("views and claims", () => {
  const free = (nodes: NodeTable) => nodes.index().all()[0]?.free["CPU"];

  test("views are taken in the order of their versions", () => {
    const nodes = joined();
    nodes.viewed("node_a", 1, { version: 5, free: { CPU: 5 }, devices: {} });
    nodes.viewed("node_a", 1, { version: 4, free: { CPU: 4 }, devices: {} });
    expect(free(nodes)).toBe(5);
  });

  test.each([
    ["more than it has", { CPU: 40_001 }, {}, "CPU free", 40_001, 40_000],
    ["a resource that it never had", { magic: 1 }, {}, "magic free", 1, 0],
    ["negative memory", { CPU: -1 }, {}, "CPU free", -1, 40_000],
    ["a device that it never had", {}, { "GPU-9": 10_000 }, "units free of device GPU-9", 10_000, 0],
    ["more than one of a device", {}, { "GPU-1": 10_001 }, "units free of device GPU-1", 10_001, 10_000],
  ])(
    "B38: a view that frees %s is refused, and the node is suspect until an honest one",
    (_name, free, devices, what, value, limit) => {
      const view = { version: 1, free: { CPU: 40_000 }, devices: { "GPU-1": 10_000 } };
      const nodes = joined(1_000, { devices: [device("GPU-1")], view });
      const refusal = nodes.viewed("node_a", 1, { version: 2, free, devices });
      expect(refusal).toMatchObject({ code: "INVALID_VIEW", details: { nodeId: "node_a", what, value, limit } });
      expect(nodes.rows(1_000)[0]).toMatchObject({ state: "SUSPECT", suspectReason: refusal!.message, view });
      expect(nodes.index().all()).toEqual([]);
      expect(nodes.tick(1_100)).toEqual([{ kind: "suspect", nodeId: "node_a", reason: refusal!.message }]);
      expect(nodes.beat("node_a", 1, 2_000)).toEqual([]);
      expect(nodes.viewed("node_a", 1, { ...view, version: 3 })).toBeUndefined();
      expect(kinds(nodes.beat("node_a", 1, 3_000))).toEqual(["alive"]);
      expect(nodes.rows(3_000)[0]!.suspectReason).toBeUndefined();
      nodes.viewed("node_a", 1, { version: 4, free, devices });
      const more = { devices: [device("GPU-1")], epoch: 1 };
      const lying = request("a", { ...more, view: { version: 5, free, devices } });
      expect(() => nodes.register(lying, 3_100)).toThrow(expect.objectContaining({ code: "INVALID_VIEW" }));
      nodes.register(request("a", { ...more, view: { ...view, version: 5 } }), 3_200);
      expect(kinds(nodes.opened("node_a", 1))).toEqual(["alive", "probe"]);
    },
  );

  test("a suspicious raylet gets nothing new", () => {
    const nodes = joined();
    nodes.viewed("node_a", 1, { version: 5, free: { CPU: 5 }, devices: {}, suspect: true });
    expect(nodes.index().all()).toEqual([]);
  });

  test("a claim takes scalars and devices until it is given back", () => {
    const view = { version: 1, free: { CPU: 40_000 }, devices: { "GPU-1": 10_000 } };
    const nodes = joined(0, { devices: [device("GPU-1")], view });
    const grant = { uuid: "GPU-1", index: 0, resource: "GPU", units: 4_000 };
    const id = nodes.claim("node_a", { CPU: 10_000, GPU: 4_000 }, [grant], 0, false);
    expect(free(nodes)).toBe(30_000);
    expect(new Room(nodes.index().all()[0]!).amount("GPU")).toBe(6_000);
    nodes.viewed("node_a", 1, { version: 2, free: { CPU: 30_000 }, devices: { "GPU-1": 6_000 } });
    expect(free(nodes)).toBe(20_000);
    nodes.unclaim("node_a", id);
    expect(free(nodes)).toBe(30_000);
  });

  test("a claim that settles ends with the view that shows it, at the latest after CLAIM_SETTLE_MS", () => {
    const nodes = joined();
    nodes.claim("node_a", { CPU: 10_000 }, [], 0, true);
    nodes.viewed("node_a", 1, { version: 2, free: { CPU: 35_000 }, devices: {} });
    expect(free(nodes)).toBe(25_000);
    nodes.viewed("node_a", 1, { version: 3, free: { CPU: 30_000 }, devices: {} });
    expect(free(nodes)).toBe(30_000);
    nodes.claim("node_a", { CPU: 10_000 }, [], 0, true);
    nodes.tick(CLAIM_SETTLE_MS);
    expect(free(nodes)).toBe(30_000);
  });

  test("an unhealthy device is never offered, and a device that the view does not list is taken", () => {
    const sick = { ...device("GPU-2", 1), health: "unhealthy" as const };
    const view = { version: 1, free: {}, devices: { "GPU-2": 10_000 } };
    const nodes = joined(0, { devices: [device("GPU-1"), sick], view });
    expect(new Room(nodes.index().all()[0]!).amount("GPU")).toBe(0);
    expect(new Room(nodes.totals().all()[0]!).amount("GPU")).toBe(10_000);
  });
});
