import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cluster, init } from "../src/index.ts";
import { clustersOfChildren, processesOf, until } from "./outside.ts";
import type { Sample } from "./sample-actor.ts";

const SAMPLE = new URL("./sample-actor.ts", import.meta.url);
const REASON = new Error("not needed any more");
let cluster: Cluster;
beforeAll(async () => {
  cluster = await init({ numCpus: 2 });
});
afterAll(async () => {
  await cluster.close();
  expect(processesOf(cluster.id)).toEqual([]);
});

/** Aborts after the request has left, and before its answer can be here. */
async function abortedSoon(start: (signal: AbortSignal) => Promise<unknown>): Promise<unknown> {
  const abort = new AbortController();
  const outcome = start(abort.signal).then(
    (value) => ({ value }),
    (error: unknown) => error,
  );
  abort.abort(REASON);
  return outcome;
}

test("with an aborted signal nothing starts, whatever is asked", async () => {
  const actor = await cluster.actor<Sample>(SAMPLE, "Sample").options({ name: "there" }).create(0);
  const group = await cluster.placementGroup([{ CPU: 1 }], { name: "group" });
  const signal = AbortSignal.abort(REASON);
  const before = [(await cluster.listActors()).length, (await cluster.placementGroupTable()).length];
  const asked: (() => Promise<unknown>)[] = [
    () => cluster.actor<Sample>(SAMPLE, "Sample").options({ signal }).create(0),
    () => cluster.getActor("there", undefined, { signal }),
    () => cluster.ready(actor, { signal }),
    () => cluster.actorRow(actor, { signal }),
    () => cluster.kill(actor, { signal }),
    () => cluster.placementGroup([{ CPU: 1 }], { signal }),
    () => cluster.getPlacementGroup("group", undefined, { signal }),
    () => cluster.removePlacementGroup(group, { signal }),
    () => cluster.placementGroupTable({ signal }),
    () => group.ready({ signal }),
    () => group.wait(1_000, { signal }),
    () => group.table({ signal }),
    () => group.remove({ signal }),
    () => cluster.put(1, { signal }),
    () => cluster.nodes({ signal }),
    () => cluster.listActors({ signal }),
    () => cluster.listObjects({ signal }),
    () => cluster.clusterResources({ signal }),
    () => cluster.availableResources({ signal }),
    () => cluster.events({ signal }).next(),
  ];
  for (const ask of asked) await expect(ask(), String(ask)).rejects.toBe(REASON);
  expect([(await cluster.listActors()).length, (await cluster.placementGroupTable()).length]).toEqual(before);
  expect(await actor.add(1)).toBe(1);
  await cluster.kill(actor);
  await group.remove();
});

test("an actor whose creation was aborted is ended, and its name is free", async () => {
  const make = (signal: AbortSignal) =>
    cluster.actor<Sample>(SAMPLE, "Sample").options({ name: "late", signal }).create(0);
  const abort = new AbortController();
  const creating = make(abort.signal);
  const outcome = creating.catch((error: unknown) => error);
  // Now the head has it on record, whether or not the answer is here.
  await until("it is made", async () => (await cluster.listActors()).some(({ name }) => name === "late"));
  abort.abort(REASON);
  const settled = await outcome;
  if (settled !== REASON) await cluster.kill(settled); // its answer was quicker
  expect(await abortedSoon(make)).toBe(REASON);
  await until("its name is free", () =>
    cluster.getActor("late").then(
      () => false,
      () => true,
    ),
  );
  const alive = (await cluster.listActors()).filter(({ state }) => state !== "DEAD");
  expect(alive).toEqual([]);
});

test("an aborted getIfExists does not end the actor that had the name", async () => {
  const named = cluster.actor<Sample>(SAMPLE, "Sample").options({ name: "kept", getIfExists: true });
  const actor = await named.create(5);
  expect(await abortedSoon((signal) => named.options({ signal }).create(0))).toBe(REASON);
  await named.create(0);
  expect(await actor.add(1)).toBe(6);
  await cluster.kill(actor);
});

test("a group whose creation was aborted is removed", async () => {
  expect(await abortedSoon((signal) => cluster.placementGroup([{ CPU: 2 }], { signal }))).toBe(REASON);
  await until("all is free", async () => (await cluster.availableResources())["CPU"] === 2);
  const group = await cluster.placementGroup([{ CPU: 2 }]);
  await group.ready({ timeoutMs: 20_000 });
  await group.remove();
});

test("an init that was aborted leaves no cluster behind", async () => {
  await expect(init({ signal: AbortSignal.abort(REASON) })).rejects.toBe(REASON);
  const marked = (): string[] => clustersOfChildren().filter((id) => id !== cluster.id);
  expect(await abortedSoon((signal) => init({ numCpus: 1, signal }))).toBe(REASON);
  const abort = new AbortController();
  const starting = init({ numCpus: 1, signal: abort.signal }).catch((error: unknown) => error);
  await until("its first worker is there", () => marked().length > 0);
  abort.abort(REASON);
  const outcome = await starting;
  if (outcome !== REASON) await (outcome as Cluster).close(); // it was quicker
  await until("nothing of it is left", () => marked().length === 0);
});

test("waits for what does not come end with the reason at once", async () => {
  const group = await cluster.placementGroup([{ CPU: 99 }]);
  const actor = await cluster.actor<Sample>(SAMPLE, "Sample").options({ numCpus: 99 }).create(0);
  expect(await abortedSoon((signal) => group.ready({ signal }))).toBe(REASON);
  expect(await abortedSoon((signal) => group.wait(60_000, { signal }))).toBe(REASON);
  expect(await abortedSoon((signal) => cluster.ready(actor, { signal }))).toBe(REASON);
  await group.remove();
  await cluster.kill(actor);
});
