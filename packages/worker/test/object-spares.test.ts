import { SimulatedClock, seededIds, seededRandom, WhiprayError } from "@whipray/core";
import type { Peer } from "@whipray/rpc";
import { expect, test } from "vitest";
import { ObjectSpares, SPARE_IDLE_MS } from "../src/object-spares.ts";

const MIB = 1_048_576;

function spares(hasRoom = true) {
  const clock = new SimulatedClock();
  const asked: { name: string; request: Record<string, unknown> }[] = [];
  const raylet = {
    invoke: async ({ name }: { name: string }, request: Record<string, unknown>) => {
      asked.push({ name, request });
      if (!hasRoom) throw new WhiprayError({ code: "OBJECT_STORE_FULL", message: "no room" });
      return { segment: { pid: 1, fd: asked.length, name: "memory", bytes: request["bytes"] } };
    },
  };
  const options = { ids: seededIds(seededRandom(1)), clock, raylet: () => raylet as unknown as Peer };
  return { clock, asked, shelf: new ObjectSpares(options), names: () => asked.map(({ name }) => name) };
}

test("after an object was written there is room for the next ones of its size: four small ones, one large one, no huge one", async () => {
  const { shelf, clock, asked } = spares();
  expect(shelf.take(MIB)).toBeUndefined();
  shelf.prepare(MIB);
  shelf.prepare(MIB);
  shelf.prepare(64 * MIB);
  shelf.prepare(160 * MIB);
  await clock.run(0);
  expect(asked.map(({ request }) => request["bytes"])).toEqual([MIB, MIB, MIB, MIB, 64 * MIB]);
  expect(asked.every(({ request }) => request["spare"] === true)).toBe(true);
  const taken = [1, 2, 3, 4].map(() => shelf.take(MIB)?.id);
  expect(new Set(taken).size).toBe(4);
  expect(shelf.take(MIB)).toBeUndefined();
  expect(shelf.take(64 * MIB)?.segment.bytes).toBe(64 * MIB);
});

test("room that nobody used is given back: freed, and sealed so that its segment can be used again", async () => {
  const { shelf, clock, names } = spares();
  shelf.prepare(64 * MIB);
  await clock.run(SPARE_IDLE_MS - 1);
  expect(names()).toEqual(["object.create"]);
  await clock.run(1);
  expect(names()).toEqual(["object.create", "object.free", "object.seal"]);
  expect(shelf.take(64 * MIB)).toBeUndefined();
});

test("a raylet without plenty of room is asked again with the next object, not before", async () => {
  const { shelf, clock, asked } = spares(false);
  shelf.prepare(64 * MIB);
  await clock.run(10_000);
  expect(asked.length).toBe(1);
  shelf.prepare(64 * MIB);
  await clock.run(0);
  expect(asked.length).toBe(2);
});
