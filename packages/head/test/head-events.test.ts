import { type ClusterEvent, eventsList } from "@whipray/rpc";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TestCluster, type TestDriver } from "./cluster.ts";

let cluster: TestCluster;
let driver: TestDriver;
beforeEach(async () => {
  cluster = await new TestCluster().start({ prober: { probe: async () => "there" } });
  driver = await cluster.driver("d").open();
});
afterEach(() => cluster.head.stop());

async function events(more: { id?: string; types?: string[]; since?: number } = {}): Promise<ClusterEvent[]> {
  return (await driver.head.invoke(eventsList, { limit: 10_000, ...more })).events;
}
const typesOf = (all: ClusterEvent[]) => all.map(({ type }) => type);

test("an actor's life: created, alive, restarting with the cause, alive again, dead", async () => {
  const a = await cluster.node("a", { CPU: 2 });
  const actorId = await driver.actor({ CPU: 1 }, { maxRestarts: 1, name: "counter" });
  const { epoch } = await driver.alive(actorId);
  await a.crash(actorId, { signal: "SIGKILL", pid: 77, logPath: "/logs/w.log" });
  await driver.alive(actorId, epoch);
  await driver.kill(actorId);
  const life = await events({ id: actorId });
  expect(typesOf(life)).toEqual([
    "ACTOR_PENDING_CREATION",
    "ACTOR_ALIVE",
    "ACTOR_RESTARTING",
    "ACTOR_ALIVE",
    "ACTOR_DEAD",
  ]);
  expect(life[2]).toMatchObject({
    severity: "WARNING",
    ids: { actorId, jobId: "job_d", nodeId: "node_a" },
    message: `actor counter (${actorId}) is restarting: worker exited with signal SIGKILL`,
    details: { cause: "WORKER_DIED", signal: "SIGKILL", pid: "77", logPath: "/logs/w.log", restarts: "1" },
  });
  expect(life[4]).toMatchObject({ severity: "INFO", details: { cause: "RAY_KILL" } });
});

test("an actor that fails for good is an ERROR", async () => {
  const a = await cluster.node("a", { CPU: 2 });
  const actorId = await driver.actor({ CPU: 1 });
  await driver.alive(actorId);
  await a.crash(actorId);
  expect((await events({ id: actorId })).at(-1)).toMatchObject({ type: "ACTOR_DEAD", severity: "ERROR" });
});

test("a group's life: pending, waiting and why, created, rescheduling when its node dies, removed", async () => {
  const pgId = await driver.group([{ CPU: 2 }]);
  await cluster.run(3_000);
  const a = await cluster.node("a", { CPU: 2 });
  await driver.ready(pgId);
  a.kill();
  await cluster.run(15_000);
  await driver.remove(pgId);
  const life = await events({ id: pgId });
  expect(typesOf(life)).toEqual([
    "PLACEMENT_GROUP_PENDING",
    "PLACEMENT_GROUP_WAITING",
    "PLACEMENT_GROUP_CREATED",
    "PLACEMENT_GROUP_RESCHEDULING",
    "PLACEMENT_GROUP_WAITING",
    "PLACEMENT_GROUP_REMOVED",
  ]);
  expect(life[1]).toMatchObject({ severity: "WARNING", details: { kind: "infeasible" } });
  expect(life[1]!.message).toContain("bundle 0 infeasible");
  expect(life[3]!.message).toContain("silent for");
  expect(life[5]).toMatchObject({ severity: "INFO", ids: { pgId, jobId: "job_d" } });
});

test("a group that was not placed in time ends with an ERROR that says what was missing", async () => {
  const pgId = await driver.group([{ CPU: 2 }], { timeoutMs: 500 });
  await cluster.run(2_000);
  const last = (await events({ id: pgId })).at(-1)!;
  expect(last).toMatchObject({ type: "PLACEMENT_GROUP_REMOVED", severity: "ERROR" });
  expect(last.message).toContain("was not placed in time; bundle 0");
});

test("nodes come, falter, come back, die and leave; jobs start and end", async () => {
  const a = await cluster.node("a", { CPU: 1 });
  a.beating = false;
  await cluster.run(4_000);
  a.beating = true;
  await cluster.run(2_000);
  a.kill();
  await cluster.run(15_000);
  const types = typesOf(await events({ id: "node_a" }));
  expect(types).toEqual(["NODE_ALIVE", "NODE_SUSPECT", "NODE_ALIVE", "NODE_SUSPECT", "NODE_DEAD"]);
  await driver.close();
  const job = (await events({ id: "job_d" })).map(({ type, severity }) => [type, severity]);
  expect(job).toEqual([
    ["JOB_STARTED", "INFO"],
    ["JOB_FINISHED", "INFO"],
  ]);
});

test("devices that are withheld, and offered again", async () => {
  const a = await cluster.node("a", { CPU: 1 }, { gpus: 2 });
  const device = (await cluster.head.status()).nodes[0]!.devices[0]!.uuid;
  a.withheld = { [device]: { kind: "quarantined", reason: "its holder hangs" } };
  a.occupy({ CPU: 0.5 });
  await cluster.run(500);
  a.withheld = {};
  a.vacate({ CPU: 0.5 });
  await cluster.run(500);
  const [gone, back] = await events({ id: device });
  expect(gone).toMatchObject({
    type: "DEVICE_WITHHELD",
    severity: "WARNING",
    ids: { nodeId: "node_a", device },
    details: { kind: "quarantined", reason: "its holder hangs" },
  });
  expect(back).toMatchObject({ type: "DEVICE_OFFERED", severity: "INFO" });
});

test("events end with their head: the next one says so, and its seqs go on above", async () => {
  await cluster.node("a", { CPU: 1 });
  const before = await events();
  cluster.killHead();
  await cluster.restartHead({}, { drivers: [driver] });
  const after = await events();
  expect(before[0]!.type).toBe("HEAD_STARTED");
  expect(after[0]).toMatchObject({ type: "HEAD_STARTED", details: { term: "2" } });
  expect(after[0]!.seq).toBeGreaterThan(before.at(-1)!.seq);
  expect(typesOf(after)).toContain("NODE_ALIVE");
  expect(await events({ since: before.at(-1)!.seq })).toEqual(after);
});

test("bad input over the wire: unknown type, since in the future, a limit above 10 000", async () => {
  const ask = (more: object) => driver.head.invoke(eventsList, { limit: 1, ...more });
  await expect(ask({ types: ["BORN"] })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(ask({ since: Number.MAX_SAFE_INTEGER })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(ask({ limit: 10_001 })).rejects.toMatchObject({ code: "RANGE" });
  await expect(ask({ limit: -1 })).rejects.toMatchObject({ code: "RANGE" });
  await expect(ask({ severity: "FATAL" })).rejects.toMatchObject({ code: "INVALID_MESSAGE" });
});
