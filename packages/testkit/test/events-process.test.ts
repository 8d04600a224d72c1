import { beforeEach, expect, test } from "vitest";
import type { Cluster, ClusterEvent } from "whipray";
import { type RealCluster, startCluster } from "../src/real-cluster.io.ts";
import { endAfterEach } from "./end-after-each.ts";
import type { Resident } from "./fixtures/resident.ts";
import { until } from "./outside.ts";

const RESIDENT = new URL("./fixtures/resident.ts", import.meta.url);
const TEST_MS = 120_000;
const PATIENCE_MS = 30_000;
let real: RealCluster;
let cluster: Cluster;

beforeEach(async () => {
  real = await startCluster({
    raylets: [{ resources: { CPU: 2, near: 1 } }, { resources: { CPU: 2, far: 1 }, foreign: true }],
  });
  cluster = await real.connect();
}, TEST_MS);
endAfterEach(() => real, TEST_MS);

test(
  "events are followed through SIGKILL of an actor, of a raylet and of the head",
  async () => {
    const seen: ClusterEvent[] = [];
    const abort = new AbortController();
    const reading = (async () => {
      for await (const event of cluster.events({ signal: abort.signal })) seen.push(event);
    })();
    const ended = reading.catch((error: unknown) => error);
    const has = (what: string, match: (event: ClusterEvent) => boolean): Promise<void> =>
      until(`event: ${what}`, PATIENCE_MS, () => seen.some(match));

    const actor = await cluster
      .actor<Resident>(RESIDENT, "Resident")
      .options({ name: "resident", maxRestarts: 1, resources: { near: 1 } })
      .create();
    await cluster.ready(actor);
    const { actorId, pid } = await cluster.actorRow(actor);
    process.kill(pid!, "SIGKILL");
    await has("restarting", ({ type, ids }) => type === "ACTOR_RESTARTING" && ids.actorId === actorId);
    const restarting = seen.find(({ type }) => type === "ACTOR_RESTARTING")!;
    expect(restarting).toMatchObject({ details: { cause: "WORKER_DIED", signal: "SIGKILL", name: "resident" } });
    await has("alive again", ({ seq, type }) => type === "ACTOR_ALIVE" && seq > restarting.seq);

    const raylet = real.raylets[1]!;
    await raylet.kill();
    await has("node dead", ({ type, ids }) => type === "NODE_DEAD" && ids.nodeId === raylet.nodeId);

    await raylet.restart();
    const died = seen.findLast(({ type }) => type === "NODE_DEAD")!;
    await has("back", ({ type, ids, seq }) => type === "NODE_ALIVE" && ids.nodeId === raylet.nodeId && seq > died.seq);

    await real.head.restart();
    await has("the next head", ({ type, details }) => type === "HEAD_STARTED" && details.term === "2");
    await cluster.kill(actor);
    await has("dead", ({ type, ids }) => type === "ACTOR_DEAD" && ids.actorId === actorId);

    const seqs = seen.map(({ seq }) => seq);
    expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
    expect(seen.some(({ type }) => type === "EVENTS_LOST")).toBe(false);
    abort.abort(new Error("enough"));
    expect(await ended).toMatchObject({ message: "enough" });
  },
  TEST_MS,
);
