import { SimulatedClock } from "@whipray/core";
import { actorByName, actorNameFreed, actorsList, type Peer } from "@whipray/rpc";
import { beforeEach, describe, expect, test } from "vitest";
import { NAME_LEASE_MS, NAME_LEASES_LIMIT } from "../src/limits.ts";
import { NameLeases } from "../src/name-leases.ts";
import { TestCluster, type TestDriver } from "./cluster.ts";

let cluster: TestCluster;
/** Looks names up, and may answer with what it found. */
let holder: TestDriver;
let other: TestDriver;
const SPACE = { namespace: "space" };
const ONE = { ...SPACE, name: "one" };

beforeEach(async () => {
  cluster = await new TestCluster().start();
  holder = await cluster.driver("h").open();
  other = await cluster.driver("o").open();
  await cluster.node("a", { CPU: 8 });
});

const make = async (more = {}) => {
  const actorId = await other.actor({ CPU: 1 }, { ...ONE, detached: true, ...more });
  await other.alive(actorId);
  return actorId;
};
const lease = (driver: TestDriver) => driver.head.invoke(actorByName, { ...ONE, lease: true });
const lookUp = (driver: TestDriver) => driver.head.invoke(actorByName, ONE);

/** The holder hears of a freed name, and confirms it when `answer` is called. */
function confirmLater(): { heard: unknown[]; answer: () => void } {
  const heard: unknown[] = [];
  const { promise, resolve } = Promise.withResolvers<null>();
  holder.endpoint.serve(actorNameFreed, (request) => {
    heard.push(request);
    return promise;
  });
  return { heard, answer: () => resolve(null) };
}

/** What has settled by now, by name. */
function watch(work: Record<string, Promise<unknown>>): Set<string> {
  const over = new Set<string>();
  for (const [name, one] of Object.entries(work)) {
    const mark = (): void => void over.add(name);
    one.then(mark, mark);
  }
  return over;
}

describe("a name whose actor died is told of only after all that could answer with it have confirmed", () => {
  test("a kill, a second kill, lookups, resolve, list and a new actor of the name wait for the holder", async () => {
    const actorId = await make();
    expect(await lease(holder)).toMatchObject({ actor: { actorId }, leaseMs: NAME_LEASE_MS });
    const { heard, answer } = confirmLater();
    const over = watch({
      kill: other.kill(actorId),
      again: holder.kill(actorId),
      lookUp: lookUp(other),
      row: other.row(actorId),
      list: other.head.invoke(actorsList, {}),
      next: other.actor({ CPU: 1 }, { ...ONE, detached: true }),
    });
    await cluster.run(NAME_LEASE_MS - 10);
    expect(heard).toEqual([ONE]);
    expect([...over]).toEqual([]);
    answer();
    await cluster.settle();
    expect([...over].sort()).toEqual(["again", "kill", "list", "lookUp", "next", "row"]);
    expect((await lookUp(other)).actor.actorId).not.toBe(actorId);
  });

  test("who asked for no lease, or confirmed, or whose lease is over holds nobody up", async () => {
    const first = await make();
    expect((await lookUp(holder)).leaseMs).toBeUndefined();
    await other.kill(first); // the clock stands still
    const second = await make();
    await lease(holder);
    const { heard, answer } = confirmLater();
    answer();
    await other.kill(second);
    expect(heard).toHaveLength(1);
    const third = await make();
    await lease(holder);
    await cluster.run(NAME_LEASE_MS);
    await other.kill(third);
    expect(heard).toHaveLength(1);
  });

  test("a holder that does not answer, or is cut off, holds it up until its lease is over and no longer", async () => {
    for (const cut of [false, true]) {
      const actorId = await make();
      await lease(holder);
      confirmLater();
      if (cut) cluster.net.cut("head/head", "head/driver_h");
      await cluster.run(100);
      const over = watch({ kill: other.kill(actorId) });
      await cluster.run(NAME_LEASE_MS - 101);
      expect(over.size).toBe(0);
      await cluster.run(2);
      expect(over.size).toBe(1);
      cluster.net.heal();
    }
  });

  test("an actor that dies by itself, with its job, or with its node frees its name in the same way", async () => {
    const ends: Record<string, (actorId: string) => unknown> = {
      itself: (actorId) => cluster.raylets[0]!.crash(actorId),
      job: () => other.close(),
      node: () => cluster.raylets[0]!.kill(),
    };
    for (const [why, end] of Object.entries(ends)) {
      other = await cluster.driver(why).open();
      const actorId = await make({ detached: why !== "job" });
      await lease(holder);
      const { heard, answer } = confirmLater();
      void end(actorId);
      // A dead node is noticed later than a lease lasts.
      await cluster.until(`${why}: the holder is told`, () => heard.length > 0 || why === "node");
      answer();
      await holder.dead(actorId);
      await expect(lookUp(holder)).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
    }
  });

  test("a restart keeps the name: nothing is taken back", async () => {
    const actorId = await make({ maxRestarts: 1 });
    await lease(holder);
    const { heard } = confirmLater();
    await other.kill(actorId, false);
    expect((await other.alive(actorId, 1)).actorId).toBe(actorId);
    expect(heard).toEqual([]);
  });
});

describe("a restarted head", () => {
  test("tells of no end of a named actor while leases of the head before it may last", async () => {
    const actorId = await make();
    await lease(holder);
    cluster.killHead();
    await cluster.start();
    other = await other.open();
    const over = watch({
      kill: other.kill(actorId),
      lookUp: lookUp(other),
      list: other.head.invoke(actorsList, {}),
      unnamed: other.actor({ CPU: 1 }),
    });
    await cluster.run(NAME_LEASE_MS - 10);
    expect([...over]).toEqual(["unnamed"]);
    await cluster.run(20);
    expect([...over].sort()).toEqual(["kill", "list", "lookUp", "unnamed"]);
  });
});

test("NAME_LEASES_LIMIT: who looks up beyond it has to ask each time, until others are over", async () => {
  const clock = new SimulatedClock();
  const leases = new NameLeases(clock, false);
  const peer = {} as Peer;
  for (let i = 0; i < NAME_LEASES_LIMIT; i++)
    expect(leases.grant({ ...SPACE, name: `n${i}` }, peer)).toBe(NAME_LEASE_MS);
  expect(leases.grant(ONE, peer)).toBeUndefined();
  expect(leases.grant({ ...SPACE, name: "n0" }, peer)).toBe(NAME_LEASE_MS);
  await clock.run(NAME_LEASE_MS + 1);
  expect(leases.grant(ONE, peer)).toBe(NAME_LEASE_MS);
});
