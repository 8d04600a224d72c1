import { ActorDiedError, SimulatedClock, seededIds, seededRandom, settle, silentLogger } from "@whipray/core";
import { type ActorRow, actorResolve, type Infer, jobOpen, MemoryNetwork, WireEndpoint } from "@whipray/rpc";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ActorLink } from "../src/actor-link.ts";
import { Driver } from "../src/driver.ts";
import type { ObjectStore } from "../src/object-store.ts";

type Resolve = Infer<(typeof actorResolve)["request"]>;

const clock = new SimulatedClock();
const random = seededRandom(1);
const services = { clock, ids: seededIds(random), random, logger: silentLogger };
const alive: ActorRow = {
  ...{ actorId: "actor_a", jobId: "job_a", namespace: "n", className: "C", state: "ALIVE", detached: true },
  ...{ epoch: 1, restarts: 0, maxTaskRetries: 0, devices: [], units: {}, nodeId: "node_a", url: "memory:worker" },
  address: "node_a/worker_a",
};
let network: MemoryNetwork;
let endpoints: WireEndpoint[];
let driver: Driver;
/** Long polls of the head that wait for another epoch. */
let waiting: { request: Resolve; answer: (row: ActorRow) => void }[];

beforeEach(async () => {
  network = new MemoryNetwork(clock);
  endpoints = [];
  waiting = [];
  const head = endpoint("head/head", "head");
  head.serve(jobOpen, () => ({ jobId: "job_a", namespace: "n", cluster: "cluster_a", headInc: head.incarnation }));
  head.serve(actorResolve, (request) => {
    if (request.afterEpoch === undefined) return { actor: alive };
    return new Promise((resolve) => waiting.push({ request, answer: (actor) => resolve({ actor }) }));
  });
  endpoint("node_a/worker_a", "worker").onCall((call) => {
    if (call.method === "quick") call.reply([Uint8Array.of(1)]);
  });
  const own = endpoint("head/driver_a", "driver");
  const connection = { endpoint: own, headUrl: "memory:head", localNode: undefined, ...services };
  driver = new Driver(connection, {} as ObjectStore, "job_a");
  await reached(driver.open("n", 5_000));
});
afterEach(() => Promise.all(endpoints.map((each) => each.close())));

function endpoint(address: string, role: "head" | "worker" | "driver"): WireEndpoint {
  const transport = network.at(role);
  const made = new WireEndpoint({ ...services, address, role, token: "", transport, admit: () => {} });
  if (role !== "driver") network.listen(role, (channel) => made.accept(channel));
  endpoints.push(made);
  return made;
}

async function reached<T>(promise: Promise<T>): Promise<T> {
  let done = false;
  const mark = () => {
    done = true;
  };
  promise.then(mark, mark);
  for (let spentMs = 0; !done && spentMs < 10_000; spentMs++) await clock.run(1);
  return promise;
}
const one = (call: Promise<unknown>) => call.catch((error: unknown) => error);

test("a connection that breaks under a call asks the head at once, whose word ends the call before the actor was dialled again", async () => {
  const link = new ActorLink(driver, "actor_a");
  await reached(link.call("quick", [], {}));
  const call = one(link.call("slow", [], {}));
  await clock.run(5);
  expect(waiting).toEqual([]);
  network.cut((from, to) => [from, to].includes("worker"));
  await settle();
  await clock.run(1);
  expect(waiting.map(({ request }) => request)).toMatchObject([{ actorId: "actor_a", wait: true, afterEpoch: 1 }]);
  waiting[0]!.answer({ ...alive, state: "DEAD", death: { kind: "WORKER_DIED", message: "killed" } });
  await clock.run(1);
  expect(await reached(call)).toBeInstanceOf(ActorDiedError);
});

test("with no call under way nobody is asked", async () => {
  const link = new ActorLink(driver, "actor_a");
  await reached(link.call("quick", [], {}));
  network.cut((from, to) => [from, to].includes("worker"));
  await clock.run(500);
  expect(waiting).toEqual([]);
});
