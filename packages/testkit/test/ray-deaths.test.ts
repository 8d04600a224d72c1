import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomIds, silentLogger, systemClock, systemRandom } from "@whipray/core";
import { dialTransport, kvGet, kvPut, WireEndpoint } from "@whipray/rpc";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type ActorOptions, type Cluster, RayActorError } from "whipray";
import { describeLeaks } from "../src/leak-check.ts";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import type { Counting } from "./fixtures/counting-actor.ts";
import type { nodeOf, pidUntil } from "./fixtures/long-task.ts";
import { runs, until } from "./outside.ts";
import { PATIENCE_MS } from "./stage.ts";

// Ray's behaviours of what goes on while the head, workers or a node are killed.
const ACTORS = new URL("./fixtures/counting-actor.ts", import.meta.url);
const TASKS = new URL("./fixtures/long-task.ts", import.meta.url);
const TEST_MS = 90_000;
let real: RealCluster;
let cluster: Cluster;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wd-"));
  real = await startCluster({ raylets: [{ resources: { CPU: 4 } }, { resources: { CPU: 4 } }] });
  cluster = await real.connect({ namespace: "deaths" });
}, TEST_MS);

afterEach(({ task }) => {
  if (task.result?.state === "fail") console.error(real.logs());
});

afterAll(async () => {
  const left = await real.stop();
  rmSync(folder, { recursive: true, force: true });
  expect(describeLeaks(left)).toBe("");
}, TEST_MS);

const counting = (options: ActorOptions<Counting>) =>
  cluster.actor<Counting>(ACTORS, "Counting").options(options).create();

/** A process that asks the head for a key of its store, as drivers do. */
function keyReader() {
  const services = { clock: systemClock, ids: randomIds(), random: systemRandom, logger: silentLogger };
  const more = {
    address: "head/driver_kv",
    role: "driver",
    token: real.token,
    pid: 1,
    transport: dialTransport(),
  } as const;
  const endpoint = new WireEndpoint({ ...services, ...more });
  return {
    endpoint,
    head: endpoint.connect({ to: "head/head", url: `ws://${real.address}`, purpose: "control", restarts: true }),
  };
}

test(
  "Ray 8.22, 8.37, 8.39, 8.62, 8.63, 8.65, 8.67, 8.69: actors keep their pids and serve while the head is down; what was asked meanwhile is done after",
  async () => {
    const group = await (await cluster.placementGroup([{ CPU: 2 }])).ready({ timeoutMs: PATIENCE_MS });
    const placement = group.bundle(0);
    const [inside, killed, detached] = await Promise.all([
      counting({ placement, numCpus: 1 }),
      counting({ numCpus: 0 }),
      counting({ numCpus: 0, name: "lasting", lifetime: "detached", maxRestarts: 1, maxTaskRetries: 1 }),
    ]);
    const pids = await Promise.all([inside, killed, detached].map((actor) => actor.pid()));
    const { endpoint, head } = keyReader();
    await head.invoke(kvPut, { namespace: "deaths", key: "key", value: new Uint8Array([7]), overwrite: true });

    await real.head.kill("SIGKILL");
    expect([await inside.pid(), await inside.count()]).toEqual([pids[0], 1]);
    const asked = head.invoke(kvGet, { namespace: "deaths", key: "key" }, { timeoutMs: PATIENCE_MS });
    const meanwhile = counting({ numCpus: 0 });
    process.kill(pids[1]!, "SIGKILL");
    process.kill(pids[2]!, "SIGKILL");
    await until("both actors are dead", PATIENCE_MS, () => !runs(pids[1]!) && !runs(pids[2]!));
    await real.head.restart();

    expect([...(await asked).value!]).toEqual([7]);
    expect(await (await meanwhile).count()).toBe(1);
    expect([await inside.pid(), await inside.count()]).toEqual([pids[0], 2]);
    await expect(killed.count()).rejects.toBeInstanceOf(RayActorError);
    expect(await detached.pid()).not.toBe(pids[2]);
    expect(await (await counting({ placement, numCpus: 1 })).count()).toBe(1);
    const later = await cluster.placementGroup([{ CPU: 1 }]);
    await later.ready({ timeoutMs: PATIENCE_MS });
    expect(await cluster.task<typeof nodeOf>(TASKS, "nodeOf").options({ placement: later.bundle(0) })()).toMatch(
      /^node_/,
    );
    await Promise.all([later.remove(), group.remove(), cluster.kill(detached), endpoint.close()]);
  },
  TEST_MS,
);

test(
  "Ray 8.81: a killer takes the worker of a named task three times: three failed attempts, then one that finished",
  async () => {
    const [file, go] = [join(folder, "pids"), join(folder, "go")];
    const pids = (): number[] => (existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").map(Number) : []);
    const victim = cluster.task<typeof pidUntil>(TASKS, "pidUntil").options({ name: "victim", maxRetries: 3 });
    const result = victim(file, go);
    const rows = () => cluster.listTasks({ filters: { name: "victim" } });
    for (let kill = 1; kill <= 3; kill++) {
      await until(`attempt ${kill} runs`, PATIENCE_MS, () => pids().length === kill);
      expect(await rows()).toMatchObject([{ state: "RUNNING", attempt: kill - 1 }]);
      process.kill(pids().at(-1)!, "SIGKILL");
    }
    await until("the last runs", PATIENCE_MS, () => pids().length === 4);
    writeFileSync(go, "");
    expect(await result).toBe(pids().at(-1));
    expect(await rows()).toMatchObject([{ state: "FINISHED", attempt: 3 }]);
    expect(new Set(pids()).size).toBe(4);
  },
  TEST_MS,
);

test(
  "Ray 8.82: the nodes that a killer took are the dead ones of the list, and no other",
  async () => {
    const [kept, taken] = real.raylets as [(typeof real.raylets)[0], (typeof real.raylets)[0]];
    await taken.kill("SIGKILL");
    const inState = async (wanted: string) =>
      (await cluster.nodes()).filter(({ state }) => state === wanted).map(({ nodeId }) => nodeId);
    await until("it is dead", PATIENCE_MS, async () => (await inState("DEAD")).length > 0);
    expect(await inState("DEAD")).toEqual([taken.nodeId]);
    await until("the other one is alive", PATIENCE_MS, async () => (await inState("ALIVE"))[0] === kept.nodeId);
    await taken.restart(); // clears up what its predecessor could not
  },
  TEST_MS,
);
