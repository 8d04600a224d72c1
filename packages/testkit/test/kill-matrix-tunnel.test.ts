import { delay, systemClock } from "@whipray/core";
import { ownPidNamespace } from "@whipray/rpc";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { describeLeaks } from "../src/leak-check.ts";
import type { RealCluster } from "../src/real-cluster.io.ts";
import type { nodeOf } from "./fixtures/long-task.ts";
import { until } from "./outside.ts";
import { needNamespaces, PATIENCE_MS, Rank, startTunnelStage } from "./stage.ts";
import { stalledReceiver } from "./stalled-receiver.ts";
import { type TunnelStage, throughTunnel } from "./tunnel.ts";

// A driver that reaches the cluster through one tunnel to the head's port: raylets have no port at all, and none shares its machine.
const TEST_MS = 60_000;
const CUT_MS = 3_000;
const MIB = 2 ** 20;
/** Less than what goes into an object store: it crosses the tunnel. */
const PIECE = { bytes: 65_536, count: 64 };
let real: RealCluster;
let stage: TunnelStage;

beforeAll(async () => {
  real = await startTunnelStage();
}, TEST_MS);

beforeEach(async () => {
  stage = await throughTunnel(real);
}, TEST_MS);

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.error(real.logs());
  await stage[Symbol.asyncDispose]();
}, TEST_MS);

afterAll(async () => {
  expect(describeLeaks((await real?.stop()) ?? [])).toBe("");
}, TEST_MS);

test(
  "through one tunnel to the head: workers on both nodes, calls, a stream, tasks, 64 MiB there and back",
  async (context) => {
    needNamespaces(context, real);
    const { cluster, tunnel } = stage;
    const nodes = await cluster.nodes();
    expect(nodes.map(({ url }) => url)).toEqual([undefined, undefined]);
    expect(nodes.filter(({ pidNamespace }) => pidNamespace === ownPidNamespace())).toEqual([]);
    const ranks = [await Rank.start(stage, "near", "near"), await Rank.start(stage, "far", "far")];
    expect(await Promise.all(ranks.map((rank) => rank.call("echo", [rank.id])))).toEqual(["near/0", "far/0"]);
    for (const rank of ranks) {
      const sent = new Uint8Array(64 * MIB).fill(7);
      sent[sent.length - 1] = 9;
      const before = tunnel.passedBytes;
      expect(Buffer.compare(await rank.call("echo", [sent]), sent)).toBe(0);
      expect(tunnel.passedBytes - before).toBeGreaterThan(2 * sent.length);
    }
    const items: unknown[] = [];
    for await (const item of ranks[1]!.stream("count_to", [100])) items.push(item);
    expect(items).toEqual(Array.from({ length: 100 }, (_, index) => index));
    const task = cluster.task<typeof nodeOf>(new URL("./fixtures/long-task.ts", import.meta.url), "nodeOf");
    const places = await Promise.all(["near", "far"].map((place) => task.options({ resources: { [place]: 1 } })()));
    expect(places).toEqual(real.raylets.map(({ nodeId }) => nodeId));
  },
  TEST_MS,
);

test(
  "P9: the tunnel is cut for 3 s in the middle of calls and of a stream: each runs exactly once, and returns",
  async () => {
    const { tunnel } = stage;
    const rank = await Rank.start(stage, "far", "far");
    const streaming = await Rank.start(stage, "near", "near");
    const items: unknown[] = [];
    const stream = (async () => {
      for await (const item of streaming.stream("count_to", [100, 0.02])) items.push(item);
    })();
    await until("the stream has begun", PATIENCE_MS, () => items.length > 2);
    const { outcome } = await rank.running(1, "running");
    // Some wait on the wire, some in the engine's queue, while the cut comes.
    const before = Array.from({ length: 50 }, (_, index) => rank.call("record", [`before-${index}`]));
    const large = rank.call("size", [new Uint8Array(16 * MIB)]);
    const pieces = Array.from({ length: PIECE.count }, () => rank.call("size", [new Uint8Array(PIECE.bytes)]));
    await tunnel.passing(MIB); // into their middle
    tunnel.cut();
    const during = Array.from({ length: 50 }, (_, index) => rank.call("record", [`during-${index}`]));
    await delay(systemClock, CUT_MS);
    expect(tunnel.refused).toBeGreaterThan(0);
    tunnel.restore();
    const tokens = ["before", "during"].flatMap((when) => Array.from({ length: 50 }, (_, index) => `${when}-${index}`));
    expect(await outcome).toBe("running");
    expect(await Promise.all([...before, ...during])).toEqual(tokens);
    expect(await large).toBe(16 * MIB);
    expect(await Promise.all(pieces)).toEqual(pieces.map(() => PIECE.bytes));
    await stream;
    expect(items).toEqual(Array.from({ length: 100 }, (_, index) => index));
    expect(await rank.call("tokens")).toEqual(["running", ...tokens]);
  },
  TEST_MS,
);

test(
  "F15, P11: a call whose deadline comes while the tunnel is cut ends then; the node stays, and the next call works",
  async () => {
    const { tunnel, cluster } = stage;
    const rank = await Rank.start(stage, "far", "far");
    tunnel.cut();
    const cutAt = systemClock.now();
    const failed = await rank.call("echo", [1], { timeoutMs: 1_000 }).catch((error: unknown) => error);
    expect(systemClock.now() - cutAt).toBeGreaterThanOrEqual(990);
    expect(failed).toMatchObject({ name: "EngineCallError", details: { code: "DEADLINE_EXCEEDED" } });
    tunnel.restore();
    expect(await rank.call("echo", [2])).toBe(2);
    expect((await cluster.nodes()).map(({ state }) => state)).toEqual(["ALIVE", "ALIVE"]);
  },
  TEST_MS,
);

test(
  "a worker that is stopped while 64 MiB go to it through the tunnel does not hold up a call to another one on its node",
  async (context) => {
    needNamespaces(context, real);
    const before = stage.tunnel.passedBytes;
    await stalledReceiver(stage);
    expect(stage.tunnel.passedBytes - before).toBeGreaterThan(64 * MIB);
  },
  TEST_MS,
);
