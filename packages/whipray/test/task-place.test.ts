import { SimulatedClock, seededIds, seededRandom, silentLogger, WhiprayError } from "@whipray/core";
import { type Peer, type TaskLeaseAsk, taskLease, taskRelease } from "@whipray/rpc";
import { expect, test } from "vitest";
import type { Driver } from "../src/driver.ts";
import { leaseWorker, type TaskPlace } from "../src/task-place.ts";

test("a request that another raylet answers too late is given back there: its grant may have crossed our cancel", async () => {
  const clock = new SimulatedClock();
  const asked: [string, string, unknown][] = [];
  const lease = { address: "node_a/w", inc: "inc_a", socket: "s", pid: 1, devices: [] };
  const rayletOf = (name: string, answer: (turn: number) => unknown): Peer => {
    let turn = 0;
    const invoke = async ({ name: method }: { name: string }, request: unknown) => {
      asked.push([name, method, (request as { leaseId: string }).leaseId]);
      if (method === taskRelease.name) return {};
      const reply = answer(++turn);
      if (reply instanceof Error) throw reply;
      return reply;
    };
    return { invoke, closed: false, address: name } as unknown as Peer;
  };
  const late = new WhiprayError({ code: "DEADLINE_EXCEEDED", message: "late" });
  const there = rayletOf("node_b/raylet", () => late);
  const first = rayletOf("node_a/raylet", (turn) =>
    turn === 1 ? { elsewhere: { nodeId: "node_b", wait: false } } : { lease },
  );
  const connection = { clock, ids: seededIds(seededRandom(1)), random: seededRandom(2), logger: silentLogger };
  const driver = { connection, raylet: undefined, reach: async () => there } as unknown as Driver;
  const place: TaskPlace = { raylet: first, nodeId: "node_a", url: undefined };
  const request = { leaseId: "lease_1" } as Omit<TaskLeaseAsk, "passedOn">;
  const granted = leaseWorker(driver, place, request, new AbortController().signal, () => {});
  await clock.run(1_000);
  expect((await granted).lease).toBe(lease);
  expect(asked).toEqual([
    ["node_a/raylet", taskLease.name, "lease_1"],
    ["node_b/raylet", taskLease.name, "lease_1"],
    ["node_b/raylet", taskRelease.name, "lease_1"],
    ["node_a/raylet", taskLease.name, "lease_1"],
  ]);
});
