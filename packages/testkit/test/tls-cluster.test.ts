import { createServer } from "node:tls";
import { certificates } from "@whipray/rpc";
import { RayScheduler } from "@whipray/scheduler";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type ActorHandle, type Cluster, init } from "whipray";
import { describeLeaks } from "../src/leak-check.ts";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import type { Caller } from "./fixtures/caller.ts";
import type { Resident } from "./fixtures/resident.ts";
import { runs, until } from "./outside.ts";
import { PATIENCE_MS, type Place, Rank, type Stage } from "./stage.ts";
import { WireTap } from "./wire-tap.ts";

// A cluster whose ports all speak TLS (design.md, mechanism 15): everything that works in plain text works there.
const TEST_MS = 60_000;
const WORD = "a word that nobody else may read";
let real: RealCluster;
let cluster: Cluster;
let stage: Stage;

beforeAll(async () => {
  real = await startCluster({
    tls: true,
    raylets: [{ resources: { CPU: 4, near: 4 } }, { resources: { CPU: 4, far: 4 }, foreign: true }],
  });
  cluster = await real.connect({ namespace: "test" });
  stage = { real, cluster, scheduler: new RayScheduler({ cluster, destroyTimeoutMs: 2_000 }) };
}, TEST_MS);

afterEach((context) => {
  if (context.task.result?.state === "fail") console.error(real.logs());
});

afterAll(async () => {
  await stage?.scheduler[Symbol.asyncDispose]();
  expect(describeLeaks((await real?.stop()) ?? [])).toBe("");
}, TEST_MS);

const pinsOf = async (): Promise<(string | undefined)[]> =>
  (await cluster.nodes()).map(({ url }) => /^wss:.*#pin=([0-9a-f]{64})$/.exec(url ?? "")?.[1]);

function resident(place: Place): Promise<ActorHandle<Resident>> {
  const make = cluster.actor<Resident>(new URL("./fixtures/resident.ts", import.meta.url), "Resident");
  return make.options({ resources: { [place]: 0.5 }, numCpus: 0 }).create();
}

async function caller(place: Place, other: ActorHandle<Resident>): Promise<ActorHandle<Caller>> {
  const make = cluster.actor<Caller>(new URL("./fixtures/caller.ts", import.meta.url), "Caller");
  const made = await make.options({ resources: { [place]: 0.5 }, numCpus: 0 }).create();
  await made.know(other);
  return made;
}

test("every port speaks TLS with a key of its own, and plain text gets an answer that says so", async () => {
  const pins = [new URL(real.address).hash.slice("#pin=".length), ...(await pinsOf())];
  expect(pins.every((pin) => pin !== undefined)).toBe(true);
  expect(new Set(pins).size).toBe(3);
  const urls = [real.address, ...(await cluster.nodes()).map(({ url }) => url!)];
  for (const url of urls) {
    const answer = await fetch(`http://${new URL(url).host}/healthz`);
    expect([answer.status, await answer.json()]).toMatchObject([400, { error: { code: "TLS_REQUIRED" } }]);
  }
});

test(
  "calls of actors and engines, streams and large values go to both nodes and between them",
  async () => {
    const ranks = [await Rank.start(stage, "near", "near"), await Rank.start(stage, "far", "far")];
    expect(await Promise.all(ranks.map((rank) => rank.call("echo", [rank.id])))).toEqual(["near/0", "far/0"]);
    expect(await ranks[1]!.call("size", [new Uint8Array(2 ** 24)])).toBe(2 ** 24);
    const items: unknown[] = [];
    for await (const item of ranks[1]!.stream("count_to", [100])) items.push(item);
    expect(items).toHaveLength(100);
    const asking = await Promise.all([caller("near", await resident("far")), caller("far", await resident("near"))]);
    expect(await Promise.all(asking.map((one) => one.ask(2)))).toEqual([2, 2]);
    await stage.scheduler.deleteWorkers();
  },
  TEST_MS,
);

test(
  "who listens on the way reads neither token nor values; a tunnel's end is trusted by the pin, whatever its name",
  async () => {
    const { host, port, hash } = new URL(real.address);
    await using tap = await WireTap.on(Number(port));
    await using driver = await init({ address: `localhost:${tap.port}${hash}`, token: real.token, namespace: "tap" });
    const actor = await driver
      .actor<Resident>(new URL("./fixtures/resident.ts", import.meta.url), "Resident")
      .options({ numCpus: 0, name: WORD.replaceAll(" ", "-") })
      .create();
    expect(await actor.entries(WORD)).toEqual([]);
    expect(tap.heard.length).toBeGreaterThan(1_000);
    for (const word of [real.token, WORD, WORD.replaceAll(" ", "-"), host, "HTTP/1.1", "magic"]) {
      expect(tap.heard.includes(word)).toBe(false);
    }
    const wrong = init({ address: `wss://127.0.0.1:${tap.port}#pin=${"0".repeat(64)}`, token: real.token });
    await expect(wrong).rejects.toMatchObject({ code: "TLS_PIN_MISMATCH" });
  },
  TEST_MS,
);

test(
  "SIGKILL of the head: calls between nodes go on; started again it proves the same pin, and all come back to it",
  async () => {
    const asking = await caller("near", await resident("far"));
    expect(await asking.ask(1)).toBe(1);
    const pids = real.raylets.map(({ pid }) => pid);
    await real.head.kill();
    expect(await asking.ask(1)).toBe(2);
    await real.head.restart();
    await until("both nodes are back", PATIENCE_MS, async () => {
      const nodes = await cluster.nodes();
      return nodes.filter(({ state }) => state === "ALIVE").length === 2;
    });
    expect(pids.every(runs)).toBe(true);
    expect(await asking.ask(1)).toBe(3);
  },
  TEST_MS,
);

test(
  "a stranger on the head's port, while the head is away, is dialled again and again and told nothing; the head finds all again",
  async () => {
    const { serverCertificate } = await certificates();
    const heard: Buffer[] = [];
    let dialled = 0;
    const stranger = createServer(serverCertificate({ names: ["localhost"], wallMs: Date.now() }), (socket) => {
      socket.on("error", () => {});
      socket.on("data", (bytes: Buffer) => heard.push(bytes));
    });
    stranger.on("connection", () => dialled++);
    await real.head.kill();
    await new Promise<void>((resolve) => stranger.listen(Number(new URL(real.address).port), "127.0.0.1", resolve));
    const asked = cluster.nodes();
    await until("driver, raylets and beats have tried", PATIENCE_MS, () => dialled > 10);
    await new Promise((resolve) => stranger.close(resolve));
    await real.head.restart();
    expect(await asked).toHaveLength(2);
    await until("both nodes are back", PATIENCE_MS, async () => {
      const nodes = await cluster.nodes();
      return nodes.filter(({ state }) => state === "ALIVE").length === 2;
    });
    expect(await (await resident("far")).add(1)).toBe(1);
    expect(Buffer.concat(heard).length).toBe(0);
  },
  TEST_MS,
);

test(
  "a raylet that is started again has another key, and the others learn its pin from the head",
  async () => {
    const before = new Set(await pinsOf());
    await real.raylets[1]!.restart();
    await until("its new key is known", PATIENCE_MS, async () => (await pinsOf()).some((pin) => !before.has(pin)));
    const asking = await caller("near", await resident("far"));
    expect(await asking.ask(1)).toBe(1);
    await real.head.kill(); // so it goes straight to the other raylet
    expect(await asking.ask(1)).toBe(2);
    await real.head.restart();
  },
  TEST_MS,
);
