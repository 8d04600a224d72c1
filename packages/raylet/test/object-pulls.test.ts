import { NodeDiedError, SimulatedClock, silentLogger, systemClock, WhiprayError } from "@whipray/core";
import { DEFAULT_LIMITS, MemorySegments, MemorySpill, NodeStore, STORE_CHUNK_BYTES } from "@whipray/objects";
import { decodeControl, type Peer } from "@whipray/rpc";
import { expect, test } from "vitest";
import { ObjectPulls, PULL_CHUNKS_AT_ONCE } from "../src/object-pulls.ts";

const MIB = 1_048_576;

/** A store here, and another node's objects as its raylet would send them. */
function world(bytes: number, dead = async () => false) {
  const limits = { ...DEFAULT_LIMITS, capacityBytes: 512 * MIB, diskBytes: 0 };
  const segments = new MemorySegments();
  const store = new NodeStore({ limits, segments, spill: new MemorySpill(), clock: systemClock, logger: silentLogger });
  const clock = new SimulatedClock();
  const seen = { holds: 0, reads: 0, inFlight: 0, most: 0, released: 0 };
  const source = {
    address: "node_b/raylet",
    closed: false,
    answer: async (): Promise<void> => {},
    invoke: async () => {
      seen.holds++;
      return { segment: {}, bytes };
    },
    call: async (_method: string, parts: readonly Uint8Array[]) => {
      const { offset, length } = decodeControl(parts[0]!) as { offset: number; length: number };
      seen.reads++;
      seen.most = Math.max(seen.most, ++seen.inFlight);
      await source.answer();
      seen.inFlight--;
      return [new Uint8Array(0), new Uint8Array(length).fill(offset / STORE_CHUNK_BYTES)];
    },
    tell: () => seen.released++,
    close: () => {
      source.closed = true;
    },
  };
  const connect = () => source as unknown as Peer;
  const pulls = new ObjectPulls({
    endpoint: { connect },
    store,
    clock,
    urlOf: async () => "unix:/head.sock",
    isDead: dead,
  });
  return { store, segments, pulls, source, seen, clock };
}

test("an object is copied once however many ask, in chunks, and is a copy here", async () => {
  const bytes = 3 * STORE_CHUNK_BYTES + 5;
  const { store, pulls, seen } = world(bytes);
  await Promise.all([1, 2, 3].map(() => pulls.pull("obj_a", "node_b/raylet", "owner inc")));
  expect(seen).toMatchObject({ holds: 1, reads: 4, released: 1 });
  await store.attach("obj_a", "reader");
  expect([(await store.read("obj_a", 0, 1))[0], (await store.read("obj_a", bytes - 1, 1))[0]]).toEqual([0, 3]);
  expect(store.get("obj_a")).toMatchObject({ copy: true, owner: "owner inc", bytes });
});

test("all copies together have at most 64 MiB of chunks under way", async () => {
  const { pulls, source, seen } = world(8 * STORE_CHUNK_BYTES);
  source.answer = () => new Promise((resolve) => setImmediate(resolve));
  await Promise.all(Array.from({ length: 8 }, (_, n) => pulls.pull(`obj_${n}`, "node_b/raylet", "owner inc")));
  expect(seen.reads).toBe(64);
  expect(seen.most).toBe(PULL_CHUNKS_AT_ONCE);
});

test("a source that goes away in the middle: OBJECT_LOST, and nothing of it is left here", async () => {
  const { store, segments, pulls, source } = world(8 * STORE_CHUNK_BYTES);
  let reads = 0;
  source.answer = async () => {
    if (++reads < 3) return;
    source.closed = true;
    throw new WhiprayError({ code: "UNREACHABLE", message: "the link is gone" });
  };
  await expect(pulls.pull("obj_a", "node_b/raylet", "owner inc")).rejects.toMatchObject({ code: "OBJECT_LOST" });
  expect([store.get("obj_a"), store.stats.usedBytes, segments.count]).toEqual([undefined, 0, 0]);
});

test("a node that the head has declared dead ends the copy, long before its session does", async () => {
  const { pulls, source, clock } = world(8 * STORE_CHUNK_BYTES, async () => true);
  const { promise: closed, reject } = Promise.withResolvers<void>();
  source.answer = () => closed;
  source.close = () => {
    source.closed = true;
    reject(new NodeDiedError({ message: "declared dead" }));
  };
  const lost = pulls.pull("obj_a", "node_b/raylet", "owner inc").catch((error: WhiprayError) => error.code);
  await clock.run(2_000);
  expect(await lost).toBe("OBJECT_LOST");
});
