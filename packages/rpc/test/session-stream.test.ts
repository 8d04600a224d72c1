import { WhiprayError } from "@whipray/core";
import { describe, expect, test } from "vitest";
import { net, readText, run, text, to } from "./wire-pair.ts";

async function collect(
  stream: AsyncIterable<readonly Uint8Array[]>,
  most = Number.POSITIVE_INFINITY,
): Promise<number[]> {
  const items: number[] = [];
  for await (const item of stream) {
    items.push(Number(readText(item)));
    if (items.length >= most) break;
  }
  return items;
}

describe("streams", () => {
  test("items in order, then the end", async () => {
    const { clock, endpoint } = net();
    endpoint("node_b/worker_b", "worker").onCall(async (call) => {
      for (let i = 0; i < 500; i++) await call.item(text(String(i)));
      call.end();
    });
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    expect(await run(clock, collect(peer.stream("count", [])))).toEqual(Array.from({ length: 500 }, (_, i) => i));
  });

  test("the producer stops at the demand of a reader that does not read", async () => {
    const { clock, endpoint } = net();
    let produced = 0;
    endpoint("node_b/worker_b", "worker").onCall(async (call) => {
      for (; produced < 1_000; produced++) await call.item(text(String(produced)));
    });
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    const stream = peer.stream("count", []);
    await clock.run(1_000);
    expect(produced).toBeLessThanOrEqual(64);
    await run(clock, stream.next());
  });

  test("a break cancels the producer; its finally runs", async () => {
    const { clock, endpoint } = net();
    let stopped: unknown;
    endpoint("node_b/worker_b", "worker").onCall(async (call) => {
      try {
        for (let i = 0; ; i++) await call.item(text(String(i)));
      } catch (error) {
        stopped = error;
        call.fail(error);
      }
    });
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    expect(await run(clock, collect(peer.stream("count", []), 3))).toEqual([0, 1, 2]);
    await clock.run(100);
    expect(stopped).toMatchObject({ code: "CANCELLED" });
  });

  test("ray 8.56: what was produced before a failure stays readable, then the error, once", async () => {
    const { clock, endpoint } = net();
    endpoint("node_b/worker_b", "worker").onCall(async (call) => {
      await call.item(text("0"));
      await call.item(text("1"));
      call.fail(new WhiprayError({ code: "BROKE", message: "broke" }));
    });
    const stream = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b")).stream("count", []);
    await clock.run(100);
    expect(readText((await stream.next()).value as Uint8Array[])).toBe("0");
    expect(readText((await stream.next()).value as Uint8Array[])).toBe("1");
    await expect(stream.next()).rejects.toMatchObject({ code: "BROKE" });
    expect(await stream.next()).toMatchObject({ done: true });
  });

  test("cut at every frame: no item is lost, none comes twice", async () => {
    let steps = 0;
    for (let cutAt = 0; cutAt <= steps + 1 && cutAt < 300; cutAt += 3) {
      let frames = 0;
      const { clock, endpoint } = net({ cut: () => frames++ === cutAt, delayMs: () => 1 }, cutAt + 1);
      endpoint("node_b/worker_b", "worker").onCall(async (call) => {
        for (let i = 0; i < 100; i++)
          await call.item([...text(String(i)), ...(i % 20 === 0 ? [new Uint8Array(100_000)] : [])]);
        call.end();
      });
      const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
      expect(await run(clock, collect(peer.stream("count", []))), `cut at frame ${cutAt}`).toEqual(
        Array.from({ length: 100 }, (_, i) => i),
      );
      steps = Math.max(steps, frames);
    }
    expect(steps).toBeGreaterThan(90);
  });
});
