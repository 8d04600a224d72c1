import { SimulatedClock, seededIds, seededRandom, settle, silentLogger } from "@whipray/core";
import {
  decodeControl,
  encodeControl,
  eventItem,
  eventsFollow,
  type ItemStream,
  MemoryNetwork,
  WireEndpoint,
} from "@whipray/rpc";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EventLog } from "../src/event-log.ts";
import { EVENTS_KEY, EventService } from "../src/event-service.ts";
import { EVENT_FOLLOWERS_LIMIT, EVENTS_KEPT } from "../src/limits.ts";
import { Waiters } from "../src/waiters.ts";

const clock = new SimulatedClock();
let events: EventLog;
let waiters: Waiters;
let head: WireEndpoint;
let reader: WireEndpoint;

beforeEach(() => {
  const network = new MemoryNetwork(clock);
  const services = { clock, ids: seededIds(seededRandom(1)), random: seededRandom(1), logger: silentLogger, token: "" };
  head = new WireEndpoint({
    ...services,
    address: "head/head",
    role: "head",
    transport: network.at("head"),
    admit: () => {},
  });
  reader = new WireEndpoint({ ...services, address: "head/driver_a", role: "driver", transport: network.at("driver") });
  network.listen("head", (channel) => head.accept(channel));
  waiters = new Waiters(clock);
  events = new EventLog({ clock, floor: 100, added: () => waiters.wake(EVENTS_KEY) });
  new EventService({ endpoint: head, events, waiters, logger: silentLogger }).serve();
});
afterEach(async () => {
  await Promise.all([reader.close(), head.close()]);
  await clock.run(1_000);
});

function follow(request: Parameters<typeof eventsFollow.request>[0] = {}): ItemStream {
  const peer = reader.connect({ to: "head/head", url: "memory:head", purpose: "data" });
  return peer.stream(eventsFollow.name, [encodeControl(request)]);
}
async function next(stream: ItemStream) {
  const step = stream.next();
  step.catch(() => {}); // looked at below
  await clock.run(1_000);
  return eventItem(decodeControl((await step).value![0]!), "item");
}
function happen(count: number, from = 1): void {
  for (let n = from; n < from + count; n++)
    events.add({ type: "ACTOR_ALIVE", severity: n % 2 ? "INFO" : "ERROR", ids: {}, message: `${n}` });
}

test("a follower gets what happens from now on, or after `since`, by its filter", async () => {
  happen(3);
  const [fresh, all, errors] = [follow(), follow({ since: 100 }), follow({ since: 100, severity: "ERROR" })];
  expect((await next(all)).events.map(({ message }) => message)).toEqual(["1", "2", "3"]);
  expect((await next(errors)).events.map(({ message }) => message)).toEqual(["2"]);
  happen(1, 4);
  expect((await next(fresh)).events.map(({ seq }) => seq)).toEqual([104]);
  expect((await next(all)).events.map(({ seq }) => seq)).toEqual([104]);
  expect((await next(errors)).events.map(({ seq }) => seq)).toEqual([104]);
});

test("a slow follower holds nothing up: it loses the oldest and is told how many", async () => {
  const slow = follow();
  await clock.run(1_000);
  // Nobody takes items: the stream's credit runs out, and the log runs around.
  const total = EVENTS_KEPT * 2;
  for (let n = 0; n < total; n += 100) {
    happen(100, n + 1);
    await clock.run(10);
  }
  let seen = 0;
  let lost = 0;
  let last = 100;
  while (last < 100 + total) {
    const item = await next(slow);
    lost += item.lost ?? 0;
    for (const { seq } of item.events) {
      expect(seq).toBe(101 + seen + lost);
      seen++;
      last = seq;
    }
  }
  expect(lost).toBeGreaterThan(EVENTS_KEPT / 2);
  expect(seen + lost).toBe(total);
});

test("one that leaves is forgotten; more than EVENT_FOLLOWERS_LIMIT are refused", async () => {
  const streams = Array.from({ length: EVENT_FOLLOWERS_LIMIT }, () => follow());
  await clock.run(1_000);
  expect(waiters.size).toBe(EVENT_FOLLOWERS_LIMIT);
  await expect(next(follow())).rejects.toMatchObject({ code: "LIMIT", retryable: true });
  for (const stream of streams) void stream.return?.();
  await clock.run(1_000);
  await settle();
  expect(waiters.size).toBe(0);
  const again = follow({ since: 100 });
  happen(1);
  expect((await next(again)).events).toHaveLength(1);
});

test("bad input: a since in the future and an unknown type end the stream with INVALID_ARGUMENT", async () => {
  await expect(next(follow({ since: 101 }))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(next(follow({ types: ["BORN"] }))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});
