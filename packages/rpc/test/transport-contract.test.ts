import { WhiprayError } from "@whipray/core";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  CHANNEL_HIGH_WATER_BYTES,
  CHANNEL_LOW_WATER_BYTES,
  type Channel,
  frameSequence,
  type Listener,
  MAX_FRAME_BYTES,
  PREFIX_BYTES,
  parseFrame,
} from "../src/index.ts";
import { numbered, Recorder, until } from "./frames.ts";
import { BENCHES, type Bench } from "./transports.ts";

describe.each(Object.keys(BENCHES))("a channel over %s", (kind) => {
  let bench: Bench;
  let listener: Listener;
  const arrived: Channel[] = [];
  const dialed: Channel[] = [];

  beforeEach(async () => {
    bench = BENCHES[kind]!();
    listener = await bench.listen((channel) => arrived.push(channel));
  });
  afterEach(async () => {
    for (const channel of [...dialed.splice(0), ...arrived.splice(0)]) channel.destroy();
    await listener.close();
    bench.cleanUp();
  });

  async function pair(): Promise<[Channel, Channel]> {
    const before = arrived.length;
    const near = await bench.transport.dial(listener.url, { token: bench.token });
    dialed.push(near);
    await until(() => arrived.length > before, "the channel at the listener");
    return [near, arrived.at(-1)!];
  }

  test("carries frames of all sizes in order, both ways at once", async () => {
    const [near, far] = await pair();
    const nearSees = new Recorder();
    const farSees = new Recorder();
    near.start(nearSees);
    far.start(farSees);
    const sizes = [0, 1, 4, 4_095, 4_097, 65_536, 262_144, MAX_FRAME_BYTES, 7];
    for (const [index, size] of sizes.entries()) near.send([numbered(index + 1, size)]);
    for (let i = 1; i <= 2_000; i++) far.send([numbered(i)]);
    await until(() => farSees.frames.length === sizes.length && nearSees.frames.length === 2_000, "all frames");
    expect(farSees.frames.map((raw) => parseFrame(raw).body.length)).toEqual(sizes);
    farSees.frames.forEach((raw, index) => {
      expect(parseFrame(raw).sequence).toBe(index + 1);
      expect(parseFrame(raw).body.every((byte) => byte === index + 1)).toBe(true);
    });
    expect(nearSees.frames.map(frameSequence)).toEqual(Array.from({ length: 2_000 }, (_, index) => index + 1));
  });

  test("a frame given in pieces arrives whole, and is no Buffer", async () => {
    const [near, far] = await pair();
    const seen = new Recorder();
    far.start(seen);
    const raw = numbered(9, 10_000);
    near.send([raw.subarray(0, PREFIX_BYTES), raw.subarray(PREFIX_BYTES, 5_000), raw.subarray(5_000)]);
    await until(() => seen.frames.length === 1);
    expect(Buffer.compare(seen.frames[0]!, raw)).toBe(0);
    expect(Buffer.isBuffer(seen.frames[0])).toBe(false);
  });

  test("delivers nothing before start, and then all that came before", async () => {
    const [near, far] = await pair();
    for (let i = 1; i <= 10; i++) near.send([numbered(i)]);
    near.close();
    await new Promise((resolve) => setImmediate(resolve));
    const seen = new Recorder();
    far.start(seen);
    await until(() => seen.ends.length === 1);
    expect(seen.frames.map(frameSequence)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(seen.ends).toEqual([undefined]);
  });

  test("counts what is queued, and says once that it drained below the low-water mark", async () => {
    const [near, far] = await pair();
    const seen = new Recorder();
    near.start(seen);
    let sent = 0;
    // Until the other side reads, the operating system takes only so much.
    while (near.bufferedBytes <= 4 * CHANNEL_HIGH_WATER_BYTES) near.send([numbered(++sent, 262_144)]);
    expect(seen.drains).toBe(0);
    const farSees = new Recorder();
    far.start(farSees);
    await until(() => seen.drains === 1, "the drain");
    expect(near.bufferedBytes).toBeLessThan(CHANNEL_LOW_WATER_BYTES);
    await until(() => farSees.frames.length === sent, "all frames");
    expect(seen.drains).toBe(1);
  });

  test("close sends what is queued; both sides hear of the end exactly once, nothing comes afterwards", async () => {
    const [near, far] = await pair();
    const nearSees = new Recorder();
    const farSees = new Recorder();
    near.start(nearSees);
    far.start(farSees);
    for (let i = 1; i <= 100; i++) near.send([numbered(i, 20_000)]);
    near.close();
    near.close();
    near.send([numbered(101)]);
    await until(() => nearSees.ends.length === 1 && farSees.ends.length === 1);
    expect(farSees.frames.length).toBe(100);
    expect(nearSees.ends).toEqual([undefined]);
    expect(farSees.ends).toEqual([undefined]);
    far.send([numbered(1)]);
    far.destroy();
    near.destroy(new WhiprayError({ code: "LATE", message: "too late" }));
    await new Promise((resolve) => setImmediate(resolve));
    expect([nearSees.ends.length, farSees.ends.length]).toEqual([1, 1]);
  });

  test("close with an error gives it to the own side", async () => {
    const [near, far] = await pair();
    const nearSees = new Recorder();
    const farSees = new Recorder();
    near.start(nearSees);
    far.start(farSees);
    near.close(new WhiprayError({ code: "VERSION", message: "no common version" }));
    await until(() => nearSees.ends.length === 1 && farSees.ends.length === 1);
    expect(nearSees.ends[0]?.code).toBe("VERSION");
  });

  test("destroy ends both sides; the error stays on its own side", async () => {
    const [near, far] = await pair();
    const nearSees = new Recorder();
    const farSees = new Recorder();
    near.start(nearSees);
    far.start(farSees);
    near.destroy(new WhiprayError({ code: "LINK_SILENT", message: "silent" }));
    expect(nearSees.ends).toEqual([]);
    await until(() => nearSees.ends.length === 1 && farSees.ends.length === 1);
    expect(nearSees.ends[0]?.code).toBe("LINK_SILENT");
    expect(farSees.ends[0]?.code).not.toBe("LINK_SILENT");
  });

  test("a channel destroyed before start says so at start", async () => {
    const [near] = await pair();
    near.destroy(new WhiprayError({ code: "LINK_SILENT", message: "silent" }));
    const seen = new Recorder();
    near.start(seen);
    await until(() => seen.ends.length === 1);
    expect(seen.ends[0]?.code).toBe("LINK_SILENT");
  });

  test("a handler that throws destroys its channel with that error, and no other", async () => {
    const [near, far] = await pair();
    const [otherNear, otherFar] = await pair();
    const seen = new Recorder();
    far.start({
      onFrame() {
        throw new WhiprayError({ code: "FRAME_PARTS", message: "bad parts" });
      },
      onDrain() {},
      onClose: (error) => seen.onClose(error),
    });
    const otherSees = new Recorder();
    otherFar.start(otherSees);
    near.send([numbered(1), numbered(2)]);
    await until(() => seen.ends.length === 1);
    expect(seen.ends[0]?.code).toBe("FRAME_PARTS");
    otherNear.send([numbered(1)]);
    await until(() => otherSees.frames.length === 1);
  });

  test.each([
    ["a length above the limit (B1)", Uint8Array.of(1, 0, 8, 0, 1, 0, 0, 0), "FRAME_SIZE"],
    ["2^32 − 1 (B1)", new Uint8Array(20).fill(0xff), "FRAME_SIZE"],
    ["HTTP (B3)", Buffer.from("GET / HTTP/1.1\r\n\r\n"), "WRONG_PROTOCOL"],
    ["TLS (B3)", Uint8Array.of(0x16, 3, 1, 0, 0xf4, 1, 0, 0, 0xf0, 3, 3), "WRONG_PROTOCOL"],
  ])("refuses first bytes that are %s, and only that channel", async (_name, bytes, code) => {
    const [otherNear, otherFar] = await pair();
    const otherSees = new Recorder();
    otherFar.start(otherSees);
    const seen = new Recorder();
    const stop = await bench.rawSend!(listener, bytes);
    await until(() => arrived.length === 2);
    arrived[1]!.start(seen);
    await until(() => seen.ends.length === 1);
    expect(seen.ends[0]?.code).toBe(code);
    expect(seen.frames).toEqual([]);
    stop();
    otherNear.send([numbered(1)]);
    await until(() => otherSees.frames.length === 1);
  });

  test("an address where nobody listens is UNREACHABLE and retryable", async () => {
    await expect(bench.transport.dial(bench.nobody)).rejects.toMatchObject({ code: "UNREACHABLE", retryable: true });
  });

  test("an aborted dial is CANCELLED", async () => {
    const dial = bench.transport.dial(bench.nobody, { signal: AbortSignal.abort() });
    await expect(dial).rejects.toMatchObject({ code: "CANCELLED" });
  });

  test.each(["", "unix:relative", "http://127.0.0.1:1", "memory:", "ws://", `unix:/${"x".repeat(200)}`, "nonsense"])(
    "the address %j is INVALID_ADDRESS",
    async (url) => {
      await expect(bench.transport.dial(url)).rejects.toMatchObject({ code: "INVALID_ADDRESS" });
    },
  );

  test("a closed listener takes nobody any more; its channels go on", async () => {
    const [near, far] = await pair();
    const seen = new Recorder();
    far.start(seen);
    await listener.close();
    await expect(bench.transport.dial(listener.url, { token: bench.token })).rejects.toMatchObject({
      code: "UNREACHABLE",
    });
    near.send([numbered(5)]);
    await until(() => seen.frames.length === 1);
  });
});
