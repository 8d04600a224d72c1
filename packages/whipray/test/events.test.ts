import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cluster, type ClusterEvent, init } from "../src/index.ts";
import { processesOf } from "./outside.ts";
import type { Sample } from "./sample-actor.ts";

const SAMPLE = new URL("./sample-actor.ts", import.meta.url);
let cluster: Cluster;
beforeAll(async () => {
  cluster = await init({ numCpus: 2 });
});
afterAll(async () => {
  await cluster.close();
  expect(processesOf(cluster.id)).toEqual([]);
});

async function past(options: Parameters<Cluster["events"]>[0] = {}): Promise<ClusterEvent[]> {
  return Array.fromAsync(cluster.events({ ...options, follow: false }));
}

test("what happened: the head, this node, this job, an actor's life; by type, id, severity and limit", async () => {
  const actor = await cluster.actor<Sample>(SAMPLE, "Sample").create(0);
  await actor.add(1);
  const { actorId } = await cluster.actorRow(actor);
  await cluster.kill(actor);
  expect((await past({ id: actorId })).map(({ type }) => type)).toEqual([
    "ACTOR_PENDING_CREATION",
    "ACTOR_ALIVE",
    "ACTOR_DEAD",
  ]);
  expect((await past()).map(({ type }) => type)).toEqual(
    expect.arrayContaining(["HEAD_STARTED", "NODE_ALIVE", "JOB_STARTED"]),
  );
  expect(await past({ types: ["JOB_STARTED"], id: cluster.jobId })).toMatchObject([{ ids: { jobId: cluster.jobId } }]);
  expect(await past({ limit: 1, types: ["ACTOR_DEAD"] })).toHaveLength(1);
  expect(await past({ severity: "ERROR", id: actorId })).toEqual([]);
});

test("a follower gets the next events; a break ends it, an abort rejects with its reason", async () => {
  const abort = new AbortController();
  const events = cluster.events({ limit: 0, types: ["PLACEMENT_GROUP_CREATED"], signal: abort.signal });
  const first = events.next();
  const group = await cluster.placementGroup([{ CPU: 1 }]);
  await group.ready();
  const { value } = await first;
  expect(value).toMatchObject({ type: "PLACEMENT_GROUP_CREATED", ids: { pgId: group.id } });
  const waiting = events.next();
  abort.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
  for await (const event of cluster.events({ since: value!.seq - 1 })) {
    expect(event.seq).toBe(value!.seq);
    break;
  }
  await group.remove();
});

test("bad input: an unknown type, a since in the future, a limit that is none", async () => {
  const bad = [{ types: ["BORN" as never] }, { since: Number.MAX_SAFE_INTEGER }, { limit: 10_001 }, { limit: 0.5 }];
  for (const options of bad) await expect(past(options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});
