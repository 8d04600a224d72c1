import type { ActorRow, GroupRow, NodeRow } from "@whipray/rpc";
import { expect, test } from "vitest";
import { clusterStatus } from "../src/cluster-status.ts";
import { addressOf } from "../src/commands/logs-command.ts";
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
  expect(text).toContain("insecure");
  expect(text).toContain("2.5/4 CPU");
  expect(text).toContain("relay");
});

test("the log of an actor is its process'; the living one of a name; none yet is NOT_FOUND", () => {
  expect(addressOf("x", [{ ...actor, state: "DEAD", address: "node_a/worker_old" }, actor])).toBe("node_a/worker_a");
  expect(addressOf("worker_a", [actor])).toBeUndefined();
  const { address: _, ...waiting } = actor;
  expect(() => addressOf("x", [{ ...waiting, state: "PENDING_CREATION", waiting: "no CPU" }])).toThrow("no CPU");
});

test("a table's columns are aligned", () => {
  expect(table(["A", "B"], [["long", "1"]])).toEqual(["A     B", "long  1"]);
});
