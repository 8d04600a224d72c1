import { NodeDiedError, SimulatedClock, silentLogger, systemClock, WhiprayError } from "@whipray/core";
import { DEFAULT_LIMITS, MemorySegments, MemorySpill, NodeStore, STORE_CHUNK_BYTES } from "@whipray/objects";
import { type ByteFetcher, decodeControl, objectRelease, type Peer } from "@whipray/rpc";
import { expect, test } from "vitest";
import { readObjectPath } from "../src/object-path.ts";
import { ObjectPulls, PULL_CHUNKS_AT_ONCE, STREAMED_BYTES, STREAMS_AT_ONCE } from "../src/object-pulls.ts";

const MIB = 1_048_576;

/** A store here, and another node's objects as its raylet would send them. */
function world(bytes: number, dead = async () => false, fetch?: ByteFetcher["fetch"]) {
  const limits = { ...DEFAULT_LIMITS, capacityBytes: 512 * MIB, diskBytes: 0 };
  const segments = new MemorySegments();
  const store = new NodeStore({ limits, segments, spill: new MemorySpill(), clock: systemClock, logger: silentLogger });
  const clock = new SimulatedClock();
  const seen = {
    holds: 0,
    reads: 0,
    inFlight: 0,
    most: 0,
    released: 0,
    listeners: [] as ((error: WhiprayError) => void)[],
  };
  const source = {
    address: "node_b/raylet",
    closed: false,
    answer: async (): Promise<void> => {},
    invoke: async ({ name }: { name: string }) => {
      if (name === objectRelease.name) {
        seen.released++;
        if (source.closed) throw new WhiprayError({ code: "UNREACHABLE", message: "the session is over" });
        return null;
      }
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
    onClose: (listener: (error: WhiprayError) => void) => void seen.listeners.push(listener),
    close: () => {
      source.closed = true;
    },
  };
  const connect = () => source as unknown as Peer;
  const pulls = new ObjectPulls({
    endpoint: { connect },
    store,
    clock,
    headUrl: "unix:/head.sock",
    portOf: async () => (fetch ? "ws://10.0.0.2:1" : undefined),
    bytes: fetch && { fetch },
    isDead: dead,
    logger: silentLogger,
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

/** Gives bytes whose value is their offset by 1 000, until `end` says otherwise. */
function streaming(bytes: number, end: (came: number, from: number) => Error | undefined) {
  const asked: number[] = [];
  let open = 0;
  let most = 0;
  const fetch: ByteFetcher["fetch"] = async (_url, path, take) => {
    const { from } = readObjectPath(path);
    asked.push(from);
    most = Math.max(most, ++open);
    try {
      for (let at = from; at < bytes; at += 100_000) {
        const error = end(at, from);
        if (error) throw error;
        take(Uint8Array.from({ length: Math.min(100_000, bytes - at) }, (_, i) => (at + i) / 1_000));
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      open--;
    }
  };
  return { fetch, asked, most: () => most };
}

async function contentOf(store: NodeStore, bytes: number): Promise<boolean> {
  await store.attach("obj_a", "reader");
  const content = await store.read("obj_a", 0, bytes);
  return content.every((value, i) => value === Math.floor(i / 1_000) % 256);
}

test("a large object of a raylet with a port comes over a connection of its own; a small one, and all of others, by chunks", async () => {
  const bytes = STREAMED_BYTES + 5;
  const { fetch, asked } = streaming(bytes, () => undefined);
  const { store, segments, pulls, seen } = world(bytes, undefined, fetch);
  await pulls.pull("obj_a", "node_b/raylet", "owner inc");
  expect([asked, seen.reads, seen.released]).toEqual([[0], 0, 1]);
  expect(await contentOf(store, bytes)).toBe(true);
  expect(segments.mapped).toBe(0);
  const small = world(STREAMED_BYTES - 1, undefined, fetch);
  await small.pulls.pull("obj_a", "node_b/raylet", "owner inc");
  expect([asked.length, small.seen.reads]).toEqual([1, 1]);
});

test("a byte stream that breaks is taken up where it broke", async () => {
  const bytes = 2 * STREAMED_BYTES;
  // Every connection brings 300 000 bytes and breaks.
  const { fetch, asked } = streaming(bytes, (at, from) => (at - from < 300_000 ? undefined : new Error("cut")));
  const { store, pulls, seen } = world(bytes, undefined, fetch);
  await pulls.pull("obj_a", "node_b/raylet", "owner inc");
  expect(asked).toEqual(Array.from({ length: Math.ceil(bytes / 300_000) }, (_, i) => i * 300_000));
  expect(seen.reads).toBe(0);
  expect(await contentOf(store, bytes)).toBe(true);
});

test("where streams bring nothing, the rest comes by chunks of the session", async () => {
  const bytes = STORE_CHUNK_BYTES + 100_000;
  const { fetch, asked } = streaming(bytes, (at) => (at < 100_000 ? undefined : new Error("a firewall")));
  const { pulls, seen } = world(bytes, undefined, fetch);
  await pulls.pull("obj_a", "node_b/raylet", "owner inc");
  expect(asked).toEqual([0, 100_000]);
  expect(seen.reads).toBe(1);
});

test("STREAMS_AT_ONCE streams at once; the end of the session ends them", async () => {
  const { fetch, most } = streaming(STREAMED_BYTES, () => undefined);
  const { pulls } = world(STREAMED_BYTES, undefined, fetch);
  await Promise.all(Array.from({ length: 9 }, (_, n) => pulls.pull(`obj_${n}`, "node_b/raylet", "owner inc")));
  expect(most()).toBe(STREAMS_AT_ONCE);
  const { promise: hangs, reject } = Promise.withResolvers<void>();
  const cut = world(STREAMED_BYTES, undefined, (_url, _path, _take, signal) => {
    signal?.addEventListener("abort", () => reject(signal.reason));
    return hangs;
  });
  const lost = cut.pulls.pull("obj_a", "node_b/raylet", "owner inc").catch((error: WhiprayError) => error.code);
  await expect.poll(() => cut.seen.listeners.length).toBe(1);
  cut.source.closed = true;
  cut.source.answer = () => Promise.reject(new NodeDiedError({ message: "gone" }));
  cut.seen.listeners[0]!(new NodeDiedError({ message: "gone" }));
  expect(await lost).toBe("OBJECT_LOST");
});

test.each([
  "",
  "/",
  "/objects/obj_a",
  "/objects/obj_a?from=-1",
  "/objects/../x?from=0",
  "/objects/obj_a?from=99999999999999999",
])("the path %j names no bytes", (path) => {
  expect(() => readObjectPath(path)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
});
