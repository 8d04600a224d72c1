import { beforeEach, describe, expect, test } from "vitest";
import { type ClusterScheduler, WorkerCreationError, WorkerNotFoundError } from "../src/index.ts";
import { MemoryCluster } from "./memory-cluster.ts";
import { engineClasses } from "./memory-engine.ts";

let cluster: MemoryCluster;
let scheduler: ClusterScheduler;
const SPEC = { cpu: 1, gpu: 1, mem: 1, envVars: { A: "target" } };
const colocate = (target: string | undefined, fork: boolean) => ({
  type: "colocation" as const,
  fork,
  ...(target !== undefined && { target }),
});
const add = (role: string, replicas: number, spec: object, target?: string, fork = true) =>
  cluster.run(
    scheduler.createWorkers({
      role,
      replicas,
      tasks: [spec],
      ...(target !== undefined && { schedulingStrategy: colocate(target, fork) }),
    }),
  );

beforeEach(async () => {
  cluster = new MemoryCluster();
  scheduler = cluster.scheduler();
  engineClasses.set("my.Engine", () => ({ ping: () => "pong" }));
  await add("actor", 2, SPEC);
});

test("areal 6.8: colocation needs a target that exists, with as many workers", async () => {
  const job = { role: "ref", replicas: 2, tasks: [SPEC], schedulingStrategy: colocate(undefined, false) };
  await expect(scheduler.createWorkers(job)).rejects.toThrow("requires target role");
  await expect(add("ref", 2, SPEC, "nobody")).rejects.toThrow(WorkerNotFoundError);
  await expect(add("ref", 3, SPEC, "actor", false)).rejects.toThrow("Replica count mismatch");
  expect(cluster.servers).toHaveLength(2);
});

test("areal 6.9: without a fork the role has the target's workers; deleting it leaves them alive", async () => {
  expect(await add("ref", 2, SPEC, "actor", false)).toEqual(["actor/0", "actor/1"]);
  expect(cluster.servers).toHaveLength(2);
  const [own, shared] = await Promise.all([
    cluster.run(scheduler.getWorkers("actor")),
    cluster.run(scheduler.getWorkers("ref")),
  ]);
  expect(shared).toEqual(own);
  await cluster.run(scheduler.deleteWorkers("ref"));
  expect(cluster.alive()).toHaveLength(2);
  expect(await cluster.run(scheduler.getWorkers("actor"))).toEqual(own);
});

describe("colocation with a fork", () => {
  test("one more server in each target's bundle, with 0.01 of its device and the target's environment", async () => {
    await cluster.run(scheduler.setWorkerEnv("actor/0", { RANK: "0" }));
    expect(await add("ref", 2, { gpu: 1, envVars: { B: "own" } }, "actor")).toEqual(["ref/0", "ref/1"]);
    const [first, second] = [cluster.serverOf("ref/0"), cluster.serverOf("ref/1")];
    expect(first.placement).toMatchObject({ groupId: "pg_0", bundleIndex: 0, cpu: 0, devices: 0.01, memoryBytes: 0 });
    expect(second.placement.bundleIndex).toBe(1);
    expect(first.start.env).toEqual({ A: "target", B: "own", RANK: "0" });
    expect(first.site.devices).toEqual(cluster.serverOf("actor/0").site.devices);
    expect(cluster.groups).toHaveLength(1);
  });

  test("ten forks fit beside a worker; the eleventh fails at once and names the 0.9 rule", async () => {
    for (let index = 0; index < 10; index++) await add(`fork${index}`, 2, { gpu: 1 }, "actor");
    await expect(add("fork10", 2, { gpu: 1 }, "actor")).rejects.toThrow(/the 0\.9 rule/);
    expect(await add("free", 2, { gpu: 0 }, "actor")).toHaveLength(2);
    await cluster.run(scheduler.deleteWorkers("fork3"));
    expect(await add("again", 2, { gpu: 1 }, "actor")).toHaveLength(2);
  });

  test("beside a worker that holds whole devices a fork with a device fails at once, one without fits", async () => {
    await add("rollout", 2, { ...SPEC, rayPlacementStrategy: "separate" });
    await expect(add("eval", 2, { gpu: 1 }, "rollout")).rejects.toThrow(/the 0\.9 rule/);
    expect(await add("eval", 2, { gpu: 0 }, "rollout")).toEqual(["eval/0", "eval/1"]);
    expect(cluster.serverOf("eval/0").placement.devices).toBe(0);
  });

  test("a fork has at most one device", async () => {
    await expect(add("ref", 2, { gpu: 2 }, "actor")).rejects.toThrow("at most one device");
  });

  test("forks never outlive the role that they share with, and the report names them first", async () => {
    await add("ref", 2, { gpu: 1 }, "actor");
    await add("ref2", 2, { gpu: 1 }, "ref");
    await add("alias", 2, SPEC, "actor", false);
    const { roles } = await cluster.run(scheduler.deleteWorkers("actor"));
    expect(roles.map((role) => role.role)).toEqual(["ref2", "ref", "alias", "actor"]);
    expect(cluster.alive()).toHaveLength(0);
    await expect(scheduler.getWorkers("alias")).rejects.toThrow(WorkerNotFoundError);
    expect(cluster.free().devices).toBe(8);
  });
});

describe("grouped colocation", () => {
  test("fewer workers over groups of the target's devices see exactly these", async () => {
    await add("big", 4, { ...SPEC });
    expect(await add("server", 2, { gpu: 2 }, "big")).toEqual(["server/0", "server/1"]);
    const [first, second] = [cluster.serverOf("server/0"), cluster.serverOf("server/1")];
    expect(first.start.env["CUDA_VISIBLE_DEVICES"]).toBe("node_a-gpu-2,node_a-gpu-3");
    expect(second.start.env["CUDA_VISIBLE_DEVICES"]).toBe("node_a-gpu-4,node_a-gpu-5");
    expect(first.start.isolation).toBe("none");
    expect(first.placement.devices).toBe(0);
  });

  test("numbers that do not fit are a mismatch", async () => {
    await expect(add("server", 1, { gpu: 3 }, "actor")).rejects.toThrow("Replica count mismatch");
  });
});

describe("forkWorkers", () => {
  test("runs a command beside each worker of a role of any placement, with its environment", async () => {
    await add("rollout", 2, { ...SPEC, rayPlacementStrategy: "separate" });
    expect(await cluster.run(scheduler.forkWorkers("proxy", "rollout", "my.proxy_server"))).toEqual([
      "proxy/0",
      "proxy/1",
    ]);
    await cluster.run(scheduler.createEngine("proxy/1", "my.Engine"));
    const server = cluster.serverOf("proxy/1");
    expect(server.engine?.spec).toMatchObject({ argv: ["-m", "my.proxy_server"], env: { A: "target" } });
    expect(server.placement).toMatchObject({
      bundleIndex: 0,
      devices: 0,
      groupId: cluster.serverOf("rollout/1").placement.groupId,
    });
    expect(await cluster.run(scheduler.callEngine("proxy/1", "ping"))).toBe("pong");
  });

  test("an unknown target and a role that exists are refused", async () => {
    await expect(scheduler.forkWorkers("proxy", "nobody")).rejects.toThrow(WorkerNotFoundError);
    await expect(scheduler.forkWorkers("actor", "actor")).rejects.toThrow(WorkerCreationError);
  });
});

describe("areal 6.11: a sibling host of a server", () => {
  const server = () => cluster.serverOf("actor/0");
  const ask = async (method: string, ...args: unknown[]) => {
    const { askServer } = await import("../src/server-calls.ts");
    return askServer(server(), method, args, 1_000);
  };

  test("has a pid, the parent's environment and its own, and answers; killing it twice is NOT_FOUND", async () => {
    const { pid } = (await ask("fork", { role: "proxy", index: 0, env: { B: "own" } })) as { pid: number };
    expect(pid).toBeGreaterThan(0);
    expect(server().engines[0]?.env).toEqual({ A: "target", B: "own" });
    expect(await ask("health")).toMatchObject({ status: "healthy", forked: ["proxy/0"] });
    const { encodeHostRequest, decodeHostValue } = await import("@whipray/engine");
    await server().call("createEngine@proxy/0", encodeHostRequest({ engine: "my.Engine", engineName: "p" }));
    const reply = await server().call("call@proxy/0", encodeHostRequest({ engineName: "p", method: "ping" }));
    expect(decodeHostValue(reply)).toBe("pong");
    await expect(ask("fork", { role: "proxy", index: 0 })).rejects.toMatchObject({ code: "ENGINE_EXISTS" });
    expect(await ask("killForked", { role: "proxy", index: 0 })).toEqual({ killed: 1, left: 0 });
    await expect(ask("killForked", { role: "proxy", index: 0 })).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(ask("killForked", { role: "nobody", index: 0 })).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(server().call("call@proxy/0", encodeHostRequest({}))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test("areal 6.20: it is known as running until it is stopped, and does not start again", async () => {
    const { encodeHostRequest } = await import("@whipray/engine");
    const request = encodeHostRequest({ engine: "my.Engine", engineName: "e" });
    expect(await ask("info")).not.toHaveProperty("engine");
    await server().call("createEngine", request);
    expect(await ask("info")).toMatchObject({
      workerId: "actor/0",
      engine: { pid: server().engine?.pid, running: true },
    });
    expect(await ask("stop", 10)).toEqual({ killed: 1, left: 0 });
    expect(await ask("info")).toMatchObject({ engine: { running: false } });
  });

  test("there is a limit of 64", async () => {
    for (let index = 0; index < 64; index++) await ask("fork", { role: "p", index });
    await expect(ask("fork", { role: "p", index: 64 })).rejects.toMatchObject({ code: "LIMIT" });
  });
});
