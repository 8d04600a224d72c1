import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "@whipray/core";
import {
  actorsList,
  bundleRelease,
  jobOpen,
  kvDelete,
  kvGet,
  kvKeys,
  kvPut,
  nodeBeat,
  nodesList,
  nodeViewChanged,
} from "@whipray/rpc";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Head, type NodeProber, type ProbeAnswer, SqliteStore } from "../src/index.ts";
import { TestCluster, type TestDriver } from "./cluster.ts";

let cluster: TestCluster;
let driver: TestDriver;
let answer: ProbeAnswer;
const prober: NodeProber = { probe: async () => answer };

beforeEach(async () => {
  answer = "there";
  cluster = await new TestCluster().start({ prober, peerTokens: { driver: "ab" } });
  driver = await cluster.driver("d").open();
});
afterEach(() => cluster.head.stop());

const stateOf = (nodeId: string) => cluster.head.status().nodes.find((node) => node.nodeId === nodeId)?.state;

describe("nodes", () => {
  test("registration tells epoch, cluster, beat, tokens and peers; nodes.list shows who is there", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const b = await cluster.node("b", { CPU: 1 });
    expect(a.registered).toMatchObject({ epoch: 1, beatMs: 1_000, peers: [], peerTokens: { driver: "ab" } });
    expect(b.registered?.peers).toEqual([{ nodeId: "node_a", url: "ws://node_a" }]);
    const { nodes } = await driver.head.invoke(nodesList, {});
    expect(nodes.map((node) => [node.nodeId, node.state])).toEqual([
      ["node_a", "ALIVE"],
      ["node_b", "ALIVE"],
    ]);
  });

  test("B38: a view that frees what the node never had is refused over the wire, and status says why the node is suspect", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const { version } = a.view();
    const tell = (free: Record<string, number>, more: number) =>
      a.head.invoke(nodeViewChanged, {
        nodeId: "node_a",
        epoch: a.epoch,
        view: { version: version + more, free, devices: {} },
      });
    await expect(tell({ CPU: 20_000 }, 1)).rejects.toMatchObject({ code: "INVALID_VIEW" });
    expect(cluster.head.status().nodes[0]).toMatchObject({
      state: "SUSPECT",
      suspectReason: expect.stringContaining("20000 CPU free"),
    });
    await tell({ CPU: 10_000 }, 2);
    await cluster.run(2_000);
    expect(stateOf("node_a")).toBe("ALIVE");
  });

  test("B37: a node with 10 000 devices is refused with the limit and the value", async () => {
    const crowd = cluster.node("crowd", { CPU: 1 }, { gpus: 10_000 });
    await expect(crowd).rejects.toMatchObject({ code: "LIMIT", details: { limit: 1_024, value: 10_000 } });
    expect(stateOf("node_crowd")).toBeUndefined();
  });

  test("P1, F1: a killed raylet is dead within 3 s, and its actors restart elsewhere at once", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const actorId = await driver.actor({ CPU: 1 }, { maxRestarts: 1 });
    await driver.alive(actorId);
    await cluster.node("b", { CPU: 2 });
    await cluster.run(5_000);
    a.kill();
    answer = "gone";
    // Node b answers its beats, so looks at it do not happen.
    await cluster.run(3_000);
    expect(stateOf("node_a")).toBe("DEAD");
    expect(await driver.row(actorId)).toMatchObject({ state: "ALIVE", nodeId: "node_b", restarts: 1 });
  });

  test("P2, F2: a raylet that hangs with its port open is suspect at 3 s and dead at 10 s, not before", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    await cluster.run(5_000);
    a.beating = false;
    await cluster.run(4_000);
    expect(stateOf("node_a")).toBe("SUSPECT");
    await cluster.run(4_500);
    expect(stateOf("node_a")).toBe("SUSPECT");
    await cluster.run(2_500);
    expect(stateOf("node_a")).toBe("DEAD");
  });

  test("F11: a partition of 5 s: suspect, then healthy; nothing was ended", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const actorId = await driver.actor({ CPU: 1 });
    const { pid } = await driver.alive(actorId);
    cluster.net.cut("node_a/raylet", "head/head");
    cluster.net.cut("head/head", "node_a/raylet");
    await cluster.run(5_000);
    expect(stateOf("node_a")).toBe("SUSPECT");
    cluster.net.heal();
    await cluster.run(2_000);
    expect(stateOf("node_a")).toBe("ALIVE");
    expect(await driver.row(actorId)).toMatchObject({ state: "ALIVE", pid, epoch: 1 });
    expect(a.log.some((line) => line.startsWith("stop"))).toBe(false);
  });

  test("F12–F14: a partition of 60 s, either way: its work is given away at 10 s, and dropped when it comes back", async () => {
    for (const ways of [["ab", "ba"], ["ab"], ["ba"]]) {
      const here = await new TestCluster().start();
      const mine = await here.driver("d").open();
      const a = await here.node("a", { CPU: 2 });
      const actorId = await mine.actor({ CPU: 1 }, { maxRestarts: -1 });
      await mine.alive(actorId);
      await here.node("b", { CPU: 2 });
      if (ways.includes("ab")) here.net.cut("node_a/raylet", "head/head");
      if (ways.includes("ba")) here.net.cut("head/head", "node_a/raylet");
      // A node that hears no answers does not beat on: its lease is over.
      a.beating = ways.includes("ab");
      await here.run(12_000);
      expect(await mine.row(actorId)).toMatchObject({ state: "ALIVE", nodeId: "node_b", epoch: 2 });
      await here.run(48_000);
      here.net.heal();
      a.beating = true;
      await here.run(10_000);
      expect(a.epoch).toBe(2);
      expect(a.idle).toBe(true);
      await here.head.stop();
    }
  });

  test("a node that leaves gives its work back at once", async () => {
    const a = await cluster.node("a", { CPU: 2 });
    const once = await driver.actor({ CPU: 1 });
    await driver.alive(once);
    const { nodeLeave } = await import("@whipray/rpc");
    await a.head.invoke(nodeLeave, { nodeId: "node_a", epoch: 1, reason: "drained" });
    expect(await driver.row(once)).toMatchObject({ state: "DEAD", death: { kind: "NODE_DIED" } });
    expect(cluster.head.status().nodes[0]).toMatchObject({ state: "DEAD", deathReason: "left: drained" });
  });
});

describe("who may ask what", () => {
  test("tokens are bound to roles: a driver cannot beat, a raylet cannot open a job", async () => {
    const a = await cluster.node("a", { CPU: 1 });
    const beat = driver.head.invoke(nodeBeat, { nodeId: "node_a", epoch: 1, n: 1 });
    await expect(beat).rejects.toMatchObject({ code: "FORBIDDEN" });
    const open = a.head.invoke(jobOpen, { jobId: "job_x", pid: 1, hostname: "h", entrypoint: "e" });
    await expect(open).rejects.toMatchObject({ code: "FORBIDDEN" });
    await expect(driver.head.invoke(bundleRelease, { pgId: "pg_a", epoch: 1 })).rejects.toMatchObject({
      code: "METHOD_NOT_FOUND",
    });
  });
});

describe("KV", () => {
  const put = (key: string, value: number[], more = {}) =>
    driver.head.invoke(kvPut, { namespace: "n", key, value: Uint8Array.from(value), overwrite: true, ...more });
  const get = async (key: string) => (await driver.head.invoke(kvGet, { namespace: "n", key })).value;

  test("put, get, overwrite, keys by prefix, delete by prefix", async () => {
    expect(await put("a/1", [1])).toEqual({ added: true });
    expect(await put("a/1", [2])).toEqual({ added: false });
    expect(await put("a/1", [3], { overwrite: false })).toEqual({ added: false });
    expect(await get("a/1")).toEqual(Uint8Array.of(2));
    await put("a/2", []);
    await put("b", [1]);
    expect(await driver.head.invoke(kvKeys, { namespace: "n", prefix: "a/" })).toEqual({ keys: ["a/1", "a/2"] });
    expect(await driver.head.invoke(kvDelete, { namespace: "n", key: "a/", prefix: true })).toEqual({ deleted: 2 });
    expect(await driver.head.invoke(kvDelete, { namespace: "n", key: "a/", prefix: true })).toEqual({ deleted: 0 });
    expect(await get("b")).toEqual(Uint8Array.of(1));
    await expect(put("x".repeat(2_000), [1])).rejects.toMatchObject({ code: "RANGE" });
  });

  test("of two that put a new key at once, one is told that it added it", async () => {
    const both = await Promise.all([put("k", [1], { overwrite: false }), put("k", [2], { overwrite: false })]);
    expect(both.map((one) => one.added).sort()).toEqual([false, true]);
  });
});

describe("lists", () => {
  test("actors of a job, the living first", async () => {
    await cluster.node("a", { CPU: 4 });
    const other = await cluster.driver("o").open();
    const first = await driver.actor({ CPU: 1 });
    const second = await driver.actor({ CPU: 1 });
    await other.actor({ CPU: 1 });
    await driver.kill(first);
    const { actors, total } = await driver.head.invoke(actorsList, { jobId: driver.jobId });
    expect(actors.map((actor) => actor.actorId)).toEqual([second, first]);
    expect(total).toBe(2);
    expect((await driver.head.invoke(actorsList, {})).total).toBe(3);
  });
});

describe("on disk", () => {
  test("F6: a head on SQLite finds its cluster, groups and actors again", async () => {
    const folder = await mkdtemp(join(tmpdir(), "whipray-head-"));
    const file = join(folder, "journal.db");
    const here = new TestCluster();
    const start = async (n: number): Promise<Head> => {
      const endpoint = here.net.endpoint("head/head", "head", `inc_disk${n}`);
      const { clock, ids } = here;
      const head = new Head({ endpoint, clock, ids, random: seededRandom(1), store: new SqliteStore(file) });
      await head.start();
      return head;
    };
    // Real writes take real time: let both clocks move until it is so.
    const until = async (condition: () => boolean): Promise<void> => {
      const endMs = performance.now() + 20_000;
      while (!condition()) {
        if (performance.now() > endMs) throw new Error("not in time");
        await here.run(10);
      }
    };
    const first = await start(1);
    here.head = first;
    const mine = await here.driver("d").open();
    const a = await here.node("a", { CPU: 4 });
    const pgId = await mine.group([{ CPU: 1 }], { detached: true });
    const actorId = await mine.actor({ CPU: 1 }, { pgId, detached: true });
    await until(() => first.status().actors[0]?.state === "ALIVE");
    await first.stop();
    const second = await start(2);
    expect(second.status().clusterId).toBe(first.status().clusterId);
    a.head.close();
    await a.register();
    await here.run(1);
    expect(second.status().groups[0]).toMatchObject({ pgId, state: "CREATED" });
    expect(second.status().actors[0]).toMatchObject({ actorId, state: "ALIVE", pid: 1_000 });
    expect(a.actors.size).toBe(1);
    await second.stop();
    await rm(folder, { recursive: true });
  });
});
