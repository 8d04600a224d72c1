import type { ActorRow, GroupRow, NodeRow } from "@whipray/rpc";
import { expect, test } from "vitest";
import { clusterStatus } from "../src/cluster-status.ts";
import { logPlace } from "../src/commands/logs-command.ts";
import { statusLines } from "../src/commands/status-command.ts";
import { table } from "../src/table.ts";

const node: NodeRow = {
  ...{
    nodeId: "node_a",
    name: "a",
    hostname: "a",
    ip: "127.0.0.1",
    inc: "inc_a",
    epoch: 1,
    state: "ALIVE",
    pid: 7,
    labels: {},
  },
  total: { CPU: 40_000, GPU: 10_000, memory: 2 ** 30 },
  devices: [{ uuid: "fake-0", index: 0, resource: "GPU", vendor: "fake", model: "fake", health: "ok" }],
  view: { version: 1, free: { CPU: 15_000, memory: 2 ** 29 }, devices: { "fake-0": 2_500 } },
};
const group: GroupRow = {
  ...{
    pgId: "pg_a",
    namespace: "n",
    jobId: "job_a",
    strategy: "PACK",
    state: "PENDING",
    detached: false,
    attempts: 1,
    createdAtMs: 0,
  },
  bundles: [{ index: 0, units: { GPU: 40_000 }, devices: [] }],
  reasons: [{ bundle: 0, kind: "infeasible", text: "no node has 4 GPU", missing: { GPU: 30_000 } }],
};
const actor: ActorRow = {
  ...{
    actorId: "actor_a",
    jobId: "job_a",
    name: "x",
    namespace: "n",
    detached: false,
    className: "C",
    state: "ALIVE",
    epoch: 1,
  },
  ...{ restarts: 0, maxTaskRetries: 0, nodeId: "node_a", address: "node_a/worker_a", pid: 9, devices: [], units: {} },
};

test("used and total of scalars and devices; dead nodes do not count", () => {
  const dead: NodeRow = { ...node, nodeId: "node_b", state: "DEAD", deathReason: "gone" };
  const status = clusterStatus("ws://127.0.0.1:1", [node, dead], [group], [actor]);
  expect(status.resources).toEqual({
    CPU: { used: 2.5, total: 4 },
    GPU: { used: 0.75, total: 1 },
    memory: { used: 2 ** 29, total: 2 ** 30 },
  });
  expect(status.insecurePlaintext).toBe(false);
});

test("the status says why a group waits, and plain text beyond this machine", () => {
  const status = clusterStatus("ws://10.0.0.1:1", [node], [group], [actor]);
  const text = statusLines(status, (word) => word).join("\n");
  expect(text).toContain("bundle 0 (infeasible): no node has 4 GPU");
  expect(text).toContain("Insecure");
  expect(text).toContain("ws://10.0.0.1:1  plain text");
  expect(text).toContain("2.5/4 CPU");
  expect(text).toContain("relay");
});

test("the status says which ports speak TLS; a node's plain port that the network reaches is insecure, whatever the head's", () => {
  const pin = "a".repeat(64);
  const secure: NodeRow = { ...node, nodeId: "node_b", url: `wss://10.0.0.2:1#pin=${pin}` };
  const plain: NodeRow = { ...node, nodeId: "node_c", url: "ws://127.0.0.1:2" };
  const status = clusterStatus(`wss://10.0.0.1:1#pin=${pin}`, [node, secure, plain], [], []);
  expect(status).toMatchObject({ address: "wss://10.0.0.1:1", tls: true, pin, insecurePlaintext: false });
  expect(status.nodes.map(({ reach, tls }) => [reach, tls])).toEqual([
    ["relay", undefined],
    ["direct", true],
    ["direct", false],
  ]);
  const text = statusLines(status, (word) => word).join("\n");
  for (const part of ["wss://10.0.0.1:1  TLS", "direct, TLS", "direct, plain text"]) expect(text).toContain(part);
  const open: NodeRow = { ...plain, url: "ws://10.0.0.3:2" };
  expect(clusterStatus(`wss://10.0.0.1:1#pin=${pin}`, [open], [], []).insecurePlaintext).toBe(true);
  expect(clusterStatus("ws://127.0.0.1:1", [{ ...open, state: "DEAD" }], [], []).insecurePlaintext).toBe(false);
});

test("devices with owner, memory and utilisation; what is not offered with its reason (P6, F33)", () => {
  const gpu = (index: number) => ({ ...node.devices[0]!, uuid: `gpu-${index}`, index, model: "H100", numaNode: 0 });
  const machine: NodeRow = {
    ...node,
    devices: [gpu(0), gpu(1), gpu(2), gpu(3)],
    view: {
      ...node.view,
      devices: { "gpu-0": 1_000 },
      withheld: { "gpu-3": { kind: "quarantined", reason: "2 processes of engine_a cannot be killed" } },
    },
    seen: {
      agoMs: 3_000,
      stale: "nvidia-smi did not end within 5000 ms",
      states: [
        {
          uuid: "gpu-0",
          health: "ok",
          utilization: 0.5,
          memoryUsedBytes: 2 ** 30,
          memoryTotalBytes: 2 ** 36,
          temperatureC: 61,
        },
      ],
    },
  };
  const held = (index: number, units: number) => [{ uuid: `gpu-${index}`, index, resource: "GPU", units }];
  const trainer: ActorRow = { ...actor, devices: held(0, 9_000), choice: "0.9 of GPU 0: NUMA 0" };
  const placed: GroupRow = {
    ...group,
    state: "CREATED",
    reasons: [],
    bundles: [
      { index: 0, units: { GPU: 10_000 }, nodeId: "node_a", devices: held(1, 10_000), choice: "GPU 1: NUMA 0" },
    ],
  };
  const status = clusterStatus("ws://127.0.0.1:1", [machine], [placed], [trainer]);
  expect(status.nodes[0]!.devices).toMatchObject([
    { uuid: "gpu-0", state: "ok", used: 0.9, owners: [{ kind: "actor", name: "x", amount: 0.9 }], utilization: 0.5 },
    { uuid: "gpu-1", used: 1, owners: [{ kind: "placementGroup", id: "pg_a", amount: 1 }] },
    { uuid: "gpu-2", used: 0, owners: [] },
    { uuid: "gpu-3", state: "quarantined", reason: "2 processes of engine_a cannot be killed" },
  ]);
  const text = statusLines(status, (word) => word).join("\n");
  expect(text).toMatch(/a +GPU 0 +H100 +0 +ok +1\.0\/64\.0 GiB +50 % +61 °C +x \(0\.9\)/);
  for (const part of [
    "GPU 3 is quarantined: 2 processes of engine_a cannot be killed",
    "of an earlier look; nvidia-smi did not end",
    "bundle 0 on node_a: GPU 1: NUMA 0",
    "0.9 of GPU 0: NUMA 0",
  ])
    expect(text).toContain(part);
});

test("a log is found by an actor's id or name, the living one of a name, and of the dead the last", () => {
  const { address: _, ...gone } = actor;
  const dead = (actorId: string, nodeId: string) =>
    ({ ...gone, actorId, state: "DEAD", death: { kind: "WORKER_DIED", message: "SIGKILL", nodeId } }) as ActorRow;
  const [last, first] = [dead("actor_2", "node_b"), dead("actor_1", "node_c")];
  expect(logPlace("x", [actor, last, first])).toEqual({ nodeId: "node_a", names: ["worker_a"] });
  expect(logPlace("x", [last, first])).toEqual({ nodeId: "node_b", names: ["actor_2"] });
  expect(logPlace("actor_1", [actor, last, first])).toEqual({ nodeId: "node_c", names: ["actor_1"] });
  expect(logPlace("x", [{ ...gone, state: "DEAD" }])).toEqual({ nodeId: undefined, names: [gone.actorId] });
  expect(logPlace("worker_a", [actor])).toEqual({ nodeId: undefined, names: ["worker_a"] });
  expect(() => logPlace("x", [{ ...gone, state: "PENDING_CREATION", waiting: "no CPU" }])).toThrow("no CPU");
});

test("the log of a rank is its engine's, else its actor's; of an address its process'", () => {
  const rank = { ...actor, name: "e.t.rollout.0" };
  expect(logPlace("rollout/0", [rank])).toEqual({ nodeId: "node_a", names: [`${rank.actorId}.engine`, "worker_a"] });
  expect(() => logPlace("rollout/1", [rank])).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
  const nodeId = "node_aaaaaaaaaaaaaaaa";
  expect(logPlace(`${nodeId}/engine_x`, [])).toEqual({ nodeId, names: ["engine_x"] });
});

test("a table's columns are aligned", () => {
  expect(table(["A", "B"], [["long", "1"]])).toEqual(["A     B", "long  1"]);
});
