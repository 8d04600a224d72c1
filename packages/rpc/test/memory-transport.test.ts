import { SimulatedClock, seededRandom, settle } from "@whipray/core";
import { describe, expect, test } from "vitest";
import {
  CHANNEL_HIGH_WATER_BYTES,
  type Channel,
  frameSequence,
  type MemoryFaults,
  MemoryNetwork,
  seededFaults,
} from "../src/index.ts";
import { numbered, Recorder } from "./frames.ts";

interface Ends {
  network: MemoryNetwork;
  clock: SimulatedClock;
  near: Channel;
  nearSees: Recorder;
  far: Channel;
  farSees: Recorder;
}

async function connected(faults?: MemoryFaults): Promise<Ends> {
  const clock = new SimulatedClock();
  const network = new MemoryNetwork(clock, faults);
  let far: Channel | undefined;
  network.listen("b", (channel) => {
    far = channel;
  });
  const dial = network.at("a").dial("memory:b");
  await clock.run(1_000);
  const near = await dial;
  const nearSees = new Recorder();
  const farSees = new Recorder();
  near.start(nearSees);
  far!.start(farSees);
  return { network, clock, near, nearSees, far: far!, farSees };
}
const sequences = (recorder: Recorder): number[] => recorder.frames.map(frameSequence);

describe("a simulated network", () => {
  test("a frame in one piece is handed over without a copy", async () => {
    const { near, farSees } = await connected();
    const raw = numbered(1);
    near.send([raw]);
    await settle();
    expect(farSees.frames[0]!.buffer).toBe(raw.buffer);
  });

  test("delays are of the clock, and a faster frame does not overtake a slower one", async () => {
    const delays = [50, 10, 0];
    let sent = -2;
    const { clock, near, farSees } = await connected({ delayMs: () => delays[sent++] ?? 0 });
    sent = 0;
    for (let i = 1; i <= 3; i++) near.send([numbered(i)]);
    await clock.run(49);
    expect(sequences(farSees)).toEqual([]);
    await clock.run(1);
    expect(sequences(farSees)).toEqual([1, 2, 3]);
  });

  test("a partition holds back both ways, or one way; healing delivers everything in order", async () => {
    const { network, near, far, nearSees, farSees } = await connected();
    network.partition((from, to) => from === "a" && to === "b");
    near.send([numbered(1)]);
    far.send([numbered(2)]);
    await settle();
    expect([sequences(nearSees), sequences(farSees)]).toEqual([[2], []]);
    network.partition(() => true);
    far.send([numbered(3)]);
    near.send([numbered(4)]);
    await settle();
    expect([sequences(nearSees), sequences(farSees)]).toEqual([[2], []]);
    network.heal();
    await settle();
    expect([sequences(nearSees), sequences(farSees)]).toEqual([
      [2, 3],
      [1, 4],
    ]);
  });

  test("behind a partition the end is not heard either, until it heals", async () => {
    const { network, near, nearSees, farSees } = await connected();
    network.partition(() => true);
    near.destroy();
    await settle();
    expect([nearSees.ends.length, farSees.ends.length]).toEqual([1, 0]);
    network.heal();
    await settle();
    expect(farSees.ends.map((error) => error?.code)).toEqual(["LINK_BROKEN"]);
  });

  test("a cut loses what is under way, and both sides learn it", async () => {
    const { network, near, nearSees, farSees, clock } = await connected({ delayMs: () => 10 });
    near.send([numbered(1)]);
    await clock.run(10);
    near.send([numbered(2)]);
    network.cut((from, to) => from === "a" && to === "b");
    await clock.run(100);
    expect(sequences(farSees)).toEqual([1]);
    expect([nearSees.ends[0]?.code, farSees.ends[0]?.code]).toEqual(["LINK_BROKEN", "LINK_BROKEN"]);
  });

  test("what a partition holds back counts as buffered, and drains once", async () => {
    const { network, near, nearSees } = await connected();
    network.partition(() => true);
    for (let i = 1; i <= 6; i++) near.send([numbered(i, 262_144)]);
    expect(near.bufferedBytes).toBeGreaterThan(CHANNEL_HIGH_WATER_BYTES);
    network.heal();
    await settle();
    expect([near.bufferedBytes, nearSees.drains]).toEqual([0, 1]);
  });

  test("dialling through a partition takes until its deadline", async () => {
    const clock = new SimulatedClock();
    const network = new MemoryNetwork(clock);
    network.listen("b", () => {});
    network.partition(() => true);
    const dial = network.at("a").dial("memory:b", { timeoutMs: 500 });
    const outcome = expect(dial).rejects.toMatchObject({ code: "TIMEOUT", retryable: true });
    await clock.run(500);
    await outcome;
    const aborted = new AbortController();
    const second = network.at("a").dial("memory:b", { signal: aborted.signal });
    const cancelled = expect(second).rejects.toMatchObject({ code: "CANCELLED" });
    aborted.abort();
    await cancelled;
  });

  test("a name is listened on once, and free again after the close", async () => {
    const network = new MemoryNetwork(new SimulatedClock());
    const listener = network.listen("b", () => {});
    expect(() => network.listen("b", () => {})).toThrow(expect.objectContaining({ code: "ADDRESS_IN_USE" }));
    await listener.close();
    network.listen("b", () => {});
  });

  test.each([1, 2, 3, 4, 5])(
    "with seed %d: what arrives is a beginning of what was sent, the same in every run",
    async (seed) => {
      const run = async (): Promise<string> => {
        const { clock, near, farSees } = await connected(
          seededFaults(seededRandom(seed), { minDelayMs: 1, maxDelayMs: 40, cutProbability: 0.01 }),
        );
        for (let i = 1; i <= 300; i++) {
          near.send([numbered(i)]);
          if (i % 10 === 0) await clock.run(5);
        }
        await clock.run(1_000);
        expect(sequences(farSees)).toEqual(Array.from({ length: farSees.frames.length }, (_, index) => index + 1));
        return `${farSees.frames.length} ${farSees.ends[0]?.code} ${clock.now()}`;
      };
      expect(await run()).toBe(await run());
    },
  );
});
