import { SimulatedClock, seededIds, seededRandom, settle, silentLogger, WhiprayError } from "@whipray/core";
import {
  type ActorRow,
  actorByName,
  actorNameFreed,
  type Infer,
  jobOpen,
  MemoryNetwork,
  type Peer,
  WireEndpoint,
} from "@whipray/rpc";
import { beforeEach, expect, test } from "vitest";
import { Driver } from "../src/driver.ts";
import { NAMES_KEPT } from "../src/named-actors.ts";
import type { ObjectStore } from "../src/object-store.ts";

const LEASE_MS = 250;
const row = (actorId: string): ActorRow => ({
  ...{ actorId, jobId: "job_a", name: "one", namespace: "n", className: "C", state: "ALIVE", detached: true },
  ...{ epoch: 1, restarts: 0, maxTaskRetries: 0, devices: [], units: {} },
});

/** Its wall clock can be set. */
class SetClock extends SimulatedClock {
  setMs = 0;
  override wallMs(): number {
    return super.wallMs() + this.setMs;
  }
}

let clock: SetClock;
let network: MemoryNetwork;
let driver: Driver;
let session: Peer | undefined;
/** What the head was asked, and what it answers with. */
let asked: string[];
let answer: (name: string) => Promise<Infer<(typeof actorByName)["reply"]>>;
let killHead: () => Promise<void>;

beforeEach(async () => {
  clock = new SetClock();
  network = new MemoryNetwork(clock);
  asked = [];
  answer = async () => ({ actor: row("actor_a"), leaseMs: LEASE_MS });
  killHead = startHead();
  const endpoint = new WireEndpoint({
    ...services(),
    ...{ address: "head/driver_a", role: "driver", token: "", transport: network.at("driver") },
  });
  const connection = { endpoint, headUrl: "memory:head", localNode: undefined, ...services() };
  driver = new Driver(connection, {} as ObjectStore, "job_a");
  await settled(driver.open("n", 5_000));
  return () => endpoint.close();
});

const random = seededRandom(1);
const ids = seededIds(random);
const services = () => ({ clock, ids, random, logger: silentLogger });

function startHead(): () => Promise<void> {
  const endpoint = new WireEndpoint({
    ...services(),
    ...{ address: "head/head", role: "head", token: "", transport: network.at("head"), admit: () => {} },
  });
  endpoint.serve(jobOpen, () => ({
    ...{ jobId: "job_a", namespace: "n", cluster: "cluster_a", headInc: endpoint.incarnation },
  }));
  endpoint.serve(actorByName, ({ name, lease }, { peer }) => {
    session = peer;
    asked.push(`${name} ${lease}`);
    return answer(name);
  });
  const listener = network.listen("head", (channel) => {
    endpoint.accept(channel);
  });
  return async () => {
    await listener.close();
    network.cut(() => true);
  };
}

async function settled<T>(promise: Promise<T>): Promise<T> {
  let done = false;
  const mark = () => {
    done = true;
  };
  promise.then(mark, mark);
  for (let spentMs = 0; !done && spentMs < 60_000; spentMs += 1) await clock.run(1);
  return promise;
}
const find = async (name = "one") => (await settled(driver.namedActors.find(name, "n"))).actorId;

test("a name that was just looked up comes without a question, until the lease is over", async () => {
  const startMs = clock.now();
  expect(await find()).toBe("actor_a");
  await clock.run(LEASE_MS - (clock.now() - startMs) - 1);
  expect((await driver.namedActors.find("one", "n")).actorId).toBe("actor_a");
  expect(asked).toEqual(["one true"]);
  await clock.run(1);
  await find();
  expect(asked).toHaveLength(2);
});

test("a freed name is forgotten before the head hears so; a head that gives no lease is asked each time", async () => {
  await find();
  await settled(session!.invoke(actorNameFreed, { name: "one", namespace: "n" }));
  answer = async () => ({ actor: row("actor_b") });
  expect(await find()).toBe("actor_b");
  expect(await find()).toBe("actor_b");
  expect(asked).toHaveLength(3);
});

test("an answer that a freed name overtook is given to who waits for it, and not remembered", async () => {
  const { promise, resolve } = Promise.withResolvers<Infer<(typeof actorByName)["reply"]>>();
  answer = () => promise;
  const first = driver.namedActors.find("one", "n");
  for (let passedMs = 0; !session || asked.length === 0; passedMs++) {
    if (passedMs > 1_000) throw new Error("the head was not asked");
    await clock.run(1);
  }
  await settled(session.invoke(actorNameFreed, { name: "one", namespace: "n" }));
  resolve({ actor: row("actor_a"), leaseMs: LEASE_MS });
  expect((await settled(first)).actorId).toBe("actor_a");
  answer = async () => ({ actor: row("actor_b"), leaseMs: LEASE_MS });
  expect(await find()).toBe("actor_b");
});

test("with the session cut the head is asked, and so is one that restarted", async () => {
  await find();
  await killHead();
  await settle();
  answer = async () => ({ actor: row("actor_b"), leaseMs: LEASE_MS });
  const waits = driver.namedActors.find("one", "n");
  await settle();
  expect(asked).toHaveLength(1);
  killHead = startHead();
  expect((await settled(waits)).actorId).toBe("actor_b");
  expect(await find()).toBe("actor_b");
});

test("after the machine slept, or its wall clock was set, the head is asked", async () => {
  for (const setMs of [LEASE_MS, -LEASE_MS]) {
    await find();
    asked = [];
    clock.setMs += setMs;
    await find();
    expect(asked).toHaveLength(1);
    await clock.run(LEASE_MS);
  }
});

test("NAMES_KEPT: the name that was looked up first is forgotten", async () => {
  const looked = Array.from({ length: NAMES_KEPT + 1 }, (_, i) => driver.namedActors.find(`n${i}`, "n"));
  await settled(Promise.all(looked));
  asked = [];
  await driver.namedActors.find(`n${NAMES_KEPT}`, "n");
  await find("n0");
  expect(asked).toEqual(["n0 true"]);
});

test("an aborted lookup ends with the reason, known or not; an unknown name with the head's error", async () => {
  const signal = AbortSignal.abort(new Error("enough"));
  for (let known = 0; known < 2; known++) {
    await expect(driver.namedActors.find("one", "n", { signal })).rejects.toThrow("enough");
    await find();
  }
  answer = async () => {
    throw new WhiprayError({ code: "ACTOR_NOT_FOUND", message: "nobody" });
  };
  await expect(find("two")).rejects.toMatchObject({ code: "ACTOR_NOT_FOUND" });
});
