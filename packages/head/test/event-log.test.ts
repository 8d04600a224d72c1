import { SimulatedClock } from "@whipray/core";
import { EVENT_DETAIL_LIMIT_CHARS, EVENT_DETAILS_LIMIT, EVENT_MESSAGE_LIMIT_CHARS } from "@whipray/rpc";
import { describe, expect, test } from "vitest";
import { EventLog, type NewEvent } from "../src/event-log.ts";
import { EVENTS_BYTES_LIMIT, EVENTS_KEPT } from "../src/limits.ts";

const log = (floor = 0): EventLog => new EventLog({ clock: new SimulatedClock(), floor });
const event = (n: number, more: Partial<NewEvent> = {}): NewEvent => ({
  ...{ type: "ACTOR_ALIVE", severity: "INFO", ids: { actorId: `actor_${n}` }, message: `event ${n}` },
  ...more,
});

describe("the event log", () => {
  test("lists the latest that match, the oldest first, and says how many match in all", () => {
    const events = log();
    for (let n = 1; n <= 10; n++) events.add(event(n));
    const { events: shown, total, newest, lost } = events.list({}, undefined, 3);
    expect(shown.map(({ seq }) => seq)).toEqual([8, 9, 10]);
    expect({ total, newest, lost }).toEqual({ total: 10, newest: 10, lost: 0 });
    expect(events.list({}, 7, 100).events.map(({ seq }) => seq)).toEqual([8, 9, 10]);
    expect(events.list({}, undefined, 0)).toMatchObject({ events: [], total: 10, newest: 10 });
  });

  test("filters by type, least severity and any id", () => {
    const events = log();
    events.add(event(1));
    events.add(event(2, { type: "ACTOR_DEAD", severity: "ERROR", ids: { actorId: "actor_2", nodeId: "node_a" } }));
    events.add(event(3, { type: "NODE_SUSPECT", severity: "WARNING", ids: { nodeId: "node_a" } }));
    const seqs = (filter: Parameters<EventLog["list"]>[0]) =>
      events.list(filter, undefined, 100).events.map(({ seq }) => seq);
    expect(seqs({ types: ["ACTOR_ALIVE", "NODE_SUSPECT"] })).toEqual([1, 3]);
    expect(seqs({ severity: "WARNING" })).toEqual([2, 3]);
    expect(seqs({ severity: "ERROR" })).toEqual([2]);
    expect(seqs({ id: "node_a" })).toEqual([2, 3]);
    expect(seqs({ id: "node_a", types: ["ACTOR_DEAD"] })).toEqual([2]);
    expect(seqs({ types: [] })).toEqual([]);
  });

  test("keeps EVENTS_KEPT; who asks from before is told how many are lost", () => {
    const events = log(1_000);
    for (let n = 1; n <= EVENTS_KEPT + 5; n++) events.add(event(n));
    const all = events.list({}, 1_000, EVENTS_KEPT);
    expect(all).toMatchObject({ total: EVENTS_KEPT, newest: 1_000 + EVENTS_KEPT + 5, lost: 5 });
    expect(all.events[0]!.seq).toBe(1_006);
    // Of an earlier head: only what this one has lost is known.
    expect(events.list({}, 7, 1).lost).toBe(5);
    expect(events.list({}, 1_003, 1).lost).toBe(2);
    expect(events.list({}, 1_005, 1).lost).toBe(0);
    expect(events.after(1_000, {}, 2)).toMatchObject({ lost: 5, place: 1_007 });
  });

  test("keeps EVENTS_BYTES_LIMIT of large ones, and cuts what is longer than an event may be", () => {
    const events = log();
    const details = Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`key${n}`, "é".repeat(5_000)]));
    for (let n = 1; n <= 600; n++) events.add(event(n, { message: "é".repeat(5_000), details }));
    expect(events.bytes).toBeLessThanOrEqual(EVENTS_BYTES_LIMIT);
    expect(events.bytes).toBeGreaterThan(EVENTS_BYTES_LIMIT * 0.9);
    const { events: shown, total } = events.list({}, undefined, 1);
    expect(total).toBeLessThan(600);
    expect(shown[0]!.message).toHaveLength(EVENT_MESSAGE_LIMIT_CHARS);
    expect(Object.keys(shown[0]!.details)).toHaveLength(EVENT_DETAILS_LIMIT);
    expect(shown[0]!.details.key0).toHaveLength(EVENT_DETAIL_LIMIT_CHARS);
  });

  test("bad input: a type that is none, and a since that has not happened yet", () => {
    const events = log();
    events.add(event(1));
    expect(() => events.list({ types: ["ACTOR_BORN"] }, undefined, 1)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining('"ACTOR_BORN"; there are HEAD_'),
      }),
    );
    expect(() => events.list({}, 2, 1)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", details: { since: 2, newest: 1 } }),
    );
    expect(events.list({}, 1, 1).events).toEqual([]);
  });
});
