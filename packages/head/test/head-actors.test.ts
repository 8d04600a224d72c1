import { WhiprayError } from "@whipray/core";
import { actorCreate, actorKill, actorResolve } from "@whipray/rpc";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestCluster, type TestDriver } from "./cluster.ts";

let cluster: TestCluster;
let driver: TestDriver;
beforeEach(async () => {
  cluster = await new TestCluster().start();
  driver = await cluster.driver("d").open();
});
afterEach(() => cluster.head.stop());

describe("placing", () => {
  test("an actor becomes ALIVE with address, pid, epoch and devices; the raylet's spec names its place", async () => {
    await cluster.node("a", { CPU: 4 }, { gpus: 2 });
    const row = await driver.alive(await driver.actor({ CPU: 1, GPU: 1 }));
    expect(row).toMatchObject({
      state: "ALIVE",
      epoch: 1,
      restarts: 0,
      nodeId: "node_a",
      url: "ws://node_a",
      pid: 1_000,
    });
    expect(row.address).toBe("node_a/worker_1000");
    expect(row.devices).toMatchObject([{ resource: "GPU", index: 0, units: 10_000 }]);
    expect(row.waiting).toBeUndefined();
  });

  test("ray 8.57: twelve one-device actors on three nodes of four: each device once; the thirteenth waits and says why", async () => {
    for (const name of ["a", "b", "c"]) await cluster.node(name, { CPU: 8 }, { gpus: 4 });
    const ids = await Promise.all(Array.from({ length: 12 }, () => driver.actor({ GPU: 1 })));
    const devices = new Set<string>();
    for (const actorId of ids) devices.add((await driver.alive(actorId)).devices[0]!.uuid);
    expect(devices.size).toBe(12);
    const late = await driver.actor({ GPU: 1 });
    await cluster.run(1_000);
    expect(await driver.row(late)).toMatchObject({
      state: "PENDING_CREATION",
      waiting: expect.stringContaining("busy: needs 1 GPU"),
    });
    await driver.kill(ids[0]!);
    await driver.alive(late);
  });

  test("ray 5: an actor gets 1, 2, 4 or 8 TPU chips; another number is refused, and nothing of it stays", async () => {
    await expect(driver.actor({ TPU: 3 })).rejects.toMatchObject({
      code: "INVALID_RESOURCES",
      message: expect.stringContaining("TPU is given to one process as 1, 2, 4, 8 only; got 3"),
    });
    expect(await driver.row(await driver.actor({ TPU: 4 }))).toMatchObject({ state: "PENDING_CREATION" });
  });

  test("ray 8.61: a device is free for the next actor when its holder ends, five times", async () => {
    const a = await cluster.node("a", { CPU: 1 }, { gpus: 1 });
    for (let i = 0; i < 5; i++) {
      const actorId = await driver.actor({ GPU: 1 });
      await driver.alive(actorId);
      await driver.kill(actorId);
    }
    await cluster.run(100);
    expect(a.idle).toBe(true);
  });

  test("an actor that asked for nothing needs 1 CPU to be placed and holds none (ray.md 1.2)", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    for (let i = 0; i < 3; i++) await driver.alive(await driver.actor({}, { placementUnits: { CPU: 10_000 } }));
    a.occupy({ CPU: 1 });
    const waits = await driver.actor({}, { placementUnits: { CPU: 10_000 } });
    await cluster.run(500);
    expect(await driver.state(waits)).toBe("PENDING_CREATION");
  });

  test("a slow constructor does not block others: its claim ends when the view shows it", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const gate = Promise.withResolvers<void>();
    a.startAnswers.push(gate.promise);
    const slow = await driver.actor({ CPU: 1 });
    await cluster.settle();
    const quick = await driver.actor({ CPU: 1 });
    expect((await driver.alive(quick)).pid).toBe(1_000);
    expect((await driver.row(slow)).waiting).toBe("node_a starts it");
    gate.resolve();
    await driver.alive(slow);
  });

  test("a refused start looks elsewhere at once", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    await cluster.node("b", { CPU: 2 });
    a.startAnswers.push({ refused: "no room after all" });
    expect((await driver.alive(await driver.actor({ CPU: 1 }))).nodeId).toBe("node_b");
  });

  test("hard affinity to a node that is not there is unschedulable, soft goes elsewhere, labels wait with a reason", async () => {
    await cluster.node("a", { CPU: 2 });
    const hard = await driver.dead(await driver.actor({ CPU: 1 }, { nodeId: "node_x" }));
    expect(hard.death).toMatchObject({ kind: "UNSCHEDULABLE", message: expect.stringContaining("node_x") });
    expect((await driver.alive(await driver.actor({ CPU: 1 }, { nodeId: "node_x", nodeSoft: true }))).nodeId).toBe(
      "node_a",
    );
    const labelled = await driver.actor({ CPU: 1 }, { labels: { node: "node_b" } });
    await cluster.run(500);
    expect((await driver.row(labelled)).waiting).toContain("no usable node has the labels node=node_b");
    await cluster.node("b", { CPU: 1 });
    expect((await driver.alive(labelled)).nodeId).toBe("node_b");
  });

  test("nothing new goes to a suspect node", async () => {
    await cluster.node("a", { CPU: 2 });
    cluster.net.cut("head/head", "node_a/raylet");
    cluster.head.linkLost("node_a");
    const actorId = await driver.actor({ CPU: 1 });
    await cluster.run(500);
    expect((await driver.row(actorId)).waiting).toContain("busy: needs 1 CPU; no usable node");
    cluster.net.heal();
    await driver.alive(actorId);
  });
});

describe("restarts", () => {
  test("ray 8.40: a crash restarts with a higher epoch while restarts are left, then DEAD with the cause", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const actorId = await driver.actor({ CPU: 1 }, { maxRestarts: 1 });
    await driver.alive(actorId);
    await a.crash(actorId, { exitCode: 9 });
    expect(await driver.alive(actorId, 1)).toMatchObject({ epoch: 2, restarts: 1 });
    await a.crash(actorId, { signal: "SIGSEGV", stderrTail: ["last words"] });
    const { death } = await driver.dead(actorId);
    expect(death).toMatchObject({
      kind: "WORKER_DIED",
      signal: "SIGSEGV",
      stderrTail: ["last words"],
      nodeId: "node_a",
    });
  });

  test("ray 8.40: leaving on purpose never restarts", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const actorId = await driver.actor({ CPU: 1 }, { maxRestarts: -1 });
    await driver.alive(actorId);
    await a.crash(actorId, { kind: "EXITED", message: "exit_actor" });
    expect((await driver.dead(actorId)).death?.kind).toBe("EXITED");
  });

  test("ray 8.42: a node dies and another joins: the actor restarts there; without restarts left it is DEAD", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const again = await driver.actor({ CPU: 1 }, { maxRestarts: 1 });
    const once = await driver.actor({ CPU: 1 });
    await driver.alive(again);
    await driver.alive(once);
    a.kill();
    const { death } = await driver.dead(once);
    expect(death).toMatchObject({ kind: "NODE_DIED", message: expect.stringContaining("node_a") });
    await cluster.node("b", { CPU: 2 });
    expect((await driver.alive(again, 1)).nodeId).toBe("node_b");
  });

  test("ray 8.43: a restarted actor takes its resource again", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const actorId = await driver.actor({ CPU: 1 }, { maxRestarts: -1 });
    await driver.alive(actorId);
    const other = await driver.actor({ CPU: 1 });
    for (let i = 1; i <= 3; i++) {
      if ((await driver.row(other)).state === "ALIVE") break;
      await a.crash(actorId);
      await cluster.run(100);
    }
    expect(a.actors.size).toBe(1);
  });

  test("ray 8.49: a process that dies in the constructor counts as a crash; one that raises is DEAD with the error", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const died = { kind: "WORKER_DIED" as const, message: "exited with code 1", exitCode: 1 };
    a.startAnswers.push({ failed: died }, { failed: died });
    const third = await driver.actor({ CPU: 1 }, { maxRestarts: 3 });
    expect(await driver.alive(third)).toMatchObject({ restarts: 2, epoch: 3 });
    await driver.kill(third);
    const raised = {
      kind: "CREATION_FAILED" as const,
      message: "boom",
      error: { name: "RangeError", code: "TASK_FAILED", message: "boom" },
    };
    a.startAnswers.push({ failed: raised });
    const failing = await driver.actor({ CPU: 1 }, { maxRestarts: -1 });
    expect((await driver.dead(failing)).death).toMatchObject({
      kind: "CREATION_FAILED",
      error: { name: "RangeError" },
    });
  });

  test("ray 8.48: kill ends it for good, twice is fine; kill of an unknown one too (reliability B23)", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const actorId = await driver.actor({ CPU: 1 }, { maxRestarts: -1 });
    await driver.alive(actorId);
    expect(await driver.kill(actorId)).toEqual({ found: true });
    expect(await driver.kill(actorId)).toEqual({ found: false });
    expect(await driver.kill("actor_unknown")).toEqual({ found: false });
    expect((await driver.row(actorId)).death?.kind).toBe("RAY_KILL");
    await cluster.run(100);
    expect(a.idle).toBe(true);
  });

  test("Ray 8.61: out of scope ends it for good, with the time for its own clean-up that it asked for", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const actorId = await driver.actor({ CPU: 1 }, { maxRestarts: -1, graceMs: 1_234 });
    await driver.alive(actorId);
    const request = { actorId, noRestart: true, outOfScope: true };
    expect(await driver.head.invoke(actorKill, request)).toEqual({ found: true });
    expect((await driver.dead(actorId)).death).toMatchObject({ kind: "OUT_OF_SCOPE" });
    expect(a.log).toContain(`stop ${actorId} 1 within 1234 ms`);
    await cluster.run(100);
    expect(a.idle).toBe(true);
  });

  test("kill with noRestart: false restarts only once the old process is gone", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    await cluster.node("b", { CPU: 1 });
    const actorId = await driver.actor({ CPU: 1 }, { maxRestarts: 1 });
    await driver.alive(actorId);
    cluster.net.cut("head/head", "node_a/raylet");
    void driver.kill(actorId, false);
    await cluster.run(500);
    expect(await driver.row(actorId)).toMatchObject({ state: "RESTARTING", waiting: "its old process is being ended" });
    cluster.net.heal();
    await driver.alive(actorId, 1);
    expect(a.log).toContain(`stop ${actorId} 1`);
  });

  test("kill of a waiting actor and of one that is being started", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const waiting = await driver.actor({ CPU: 9 });
    await driver.kill(waiting);
    expect(await driver.state(waiting)).toBe("DEAD");
    const gate = Promise.withResolvers<void>();
    a.startAnswers.push(gate.promise);
    const starting = await driver.actor({ CPU: 1 });
    await cluster.settle();
    await driver.kill(starting);
    expect(await driver.state(starting)).toBe("DEAD");
    await cluster.run(100);
    expect(a.log).toContain(`stop ${starting} 1`);
  });

  test("an end reported for an older epoch or by another node changes nothing", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const actorId = await driver.actor({ CPU: 1 }, { maxRestarts: -1 });
    await driver.alive(actorId);
    await a.crash(actorId);
    await driver.alive(actorId, 1);
    const { actorEnded } = await import("@whipray/rpc");
    const late = {
      nodeId: "node_a",
      nodeEpoch: 1,
      actorId,
      epoch: 1,
      cause: { kind: "WORKER_DIED" as const, message: "late" },
      view: a.view(),
    };
    await a.head.invoke(actorEnded, late);
    expect(await driver.row(actorId)).toMatchObject({ state: "ALIVE", epoch: 2 });
    await expect(driver.head.invoke(actorEnded, late)).rejects.toMatchObject({ code: "FORBIDDEN" });
    await expect(a.head.invoke(actorEnded, { ...late, nodeEpoch: 9 })).rejects.toMatchObject({ code: "STALE_EPOCH" });
  });

  test("a start whose answer was lost is asked for again with the same epoch: the process that runs is found", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    a.startAnswers.push(new WhiprayError({ code: "OUTCOME_UNKNOWN", message: "the record was lost" }));
    const actorId = await driver.actor({ CPU: 1 });
    expect(await driver.alive(actorId)).toMatchObject({ epoch: 1, restarts: 0 });
    expect(a.log.filter((line) => line.startsWith("start"))).toHaveLength(2);
  });
});

describe("resolve", () => {
  test("waits for ALIVE above an epoch, for DEAD, or for its time; an unknown actor is ACTOR_NOT_FOUND (reliability B15)", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const actorId = await driver.actor({ CPU: 1 }, { maxRestarts: 1 });
    const resolve = (more: object) =>
      driver.head.invoke(actorResolve, { actorId, wait: true, timeoutMs: 5_000, ...more });
    expect((await resolve({})).actor).toMatchObject({ state: "ALIVE", epoch: 1 });
    const next = resolve({ afterEpoch: 1 });
    await cluster.settle();
    await a.crash(actorId);
    expect((await next).actor.epoch).toBe(2);
    const dead = resolve({ afterEpoch: 2 });
    await a.crash(actorId);
    expect((await dead).actor.state).toBe("DEAD");
    const late = driver.head.invoke(actorResolve, {
      actorId: await driver.actor({ CPU: 9 }),
      wait: true,
      timeoutMs: 1_000,
    });
    await cluster.run(1_000);
    expect((await late).actor).toMatchObject({
      state: "PENDING_CREATION",
      waiting: expect.stringContaining("infeasible: needs 9 CPU"),
    });
    await expect(driver.row("actor_unknown")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
  });

  test("creation is idempotent by id", async () => {
    const a = await cluster.node("a", { CPU: 4 });
    const spec = driver.spec({ CPU: 1 });
    const twice = await Promise.all([1, 2].map(() => driver.head.invoke(actorCreate, { spec, getIfExists: false })));
    expect(twice.map((reply) => reply.actorId)).toEqual([spec.actorId, spec.actorId]);
    await driver.alive(spec.actorId);
    expect(a.actors.size).toBe(1);
  });
});
