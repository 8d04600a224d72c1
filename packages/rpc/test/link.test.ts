import { SimulatedClock, silentLogger, type WhiprayError } from "@whipray/core";
import { describe, expect, test } from "vitest";
import {
  type Channel,
  decodeControl,
  encodeControl,
  encodeFrame,
  HANDSHAKE_TIMEOUT_MS,
  type Hello,
  KIND,
  MemoryNetwork,
  parseFrame,
  UNKNOWN_FRAMES_LIMIT,
} from "../src/index.ts";
import type { Introduction } from "../src/link/handshake.ts";
import { Link } from "../src/link/link.ts";
import { helloFrame, RawClient } from "./raw-client.ts";

const self: Introduction = { address: "head/head", incarnation: "inc_h", role: "head", token: "secret" };
/** A kind that no version knows yet. */
const UNKNOWN_KIND = 99;

/** A link that was accepted, and the other side of its connection by hand. */
async function accepted() {
  const clock = new SimulatedClock();
  const network = new MemoryNetwork(clock);
  const ends: (WhiprayError | undefined)[] = [];
  const hellos: Hello[] = [];
  let link: Link | undefined;
  network.listen("head/head", (channel: Channel) => {
    const events = {
      onOpen() {},
      onClose: (_link: Link, error: WhiprayError | undefined) => void ends.push(error),
      admit: (hello: Hello) => void hellos.push(hello),
    };
    link = Link.accepted({ channel, self, clock, logger: silentLogger, events });
  });
  const client = await RawClient.dial(network, "head/head");
  return { clock, client, ends, hellos, link: link! };
}

/** The error of the REFUSE frame that the client got. */
const refusalOf = (client: RawClient): unknown => {
  expect(client.kinds).toEqual([KIND.REFUSE]);
  return decodeControl(parseFrame(client.seen.frames[0]!).body);
};

describe("the handshake", () => {
  test("B4: another magic is WRONG_PROTOCOL, answered before the connection closes", async () => {
    const { clock, client, ends } = await accepted();
    client.send(helloFrame({ magic: "otherray" }));
    await clock.run(10);
    expect(refusalOf(client)).toMatchObject({ code: "WRONG_PROTOCOL", message: expect.stringContaining("magic") });
    expect([client.ended, ends[0]?.code]).toEqual([true, "WRONG_PROTOCOL"]);
  });

  test.each([
    ["newer", [2, 3]],
    ["older", [0, 0]],
    ["none", []],
    ["upside down", [3, 1]],
  ])("B4: versions that are %s are VERSION, which names ours and theirs", async (_name, v) => {
    const { clock, client, ends } = await accepted();
    client.send(helloFrame({ v }));
    await clock.run(10);
    const theirs = [v[0] ?? 0, v[1] ?? 0];
    expect(refusalOf(client)).toMatchObject({ code: "VERSION", details: { ours: [1, 1], theirs } });
    expect([client.ended, ends[0]?.code]).toEqual([true, "VERSION"]);
  });

  test("B4: a first frame that is no HELLO ends the connection", async () => {
    const { clock, client, ends, hellos } = await accepted();
    client.send(encodeFrame(0, KIND.PING, 0, 1));
    await clock.run(10);
    expect([client.ended, ends[0]?.code, hellos.length]).toEqual([true, "WRONG_PROTOCOL", 0]);
  });

  test("B2: whoever says nothing is closed after 10 s with HANDSHAKE_TIMEOUT, not before", async () => {
    const { clock, client, ends } = await accepted();
    await clock.run(HANDSHAKE_TIMEOUT_MS - 1);
    expect(ends).toEqual([]);
    await clock.run(1);
    expect(ends[0]).toMatchObject({ code: "HANDSHAKE_TIMEOUT", retryable: true });
    expect(client.ended).toBe(true);
  });

  test("B2: so is a listener that never answers HELLO", async () => {
    const clock = new SimulatedClock();
    const network = new MemoryNetwork(clock);
    network.listen("silent", () => {});
    const channel = await network.at("node_a/driver_a").dial("memory:silent");
    const events = { onOpen() {}, onClose() {} };
    const link = Link.dialed({ channel, self, clock, logger: silentLogger, events }, "data");
    await clock.run(HANDSHAKE_TIMEOUT_MS);
    await expect(link.ready).rejects.toMatchObject({ code: "HANDSHAKE_TIMEOUT" });
  });

  test("mechanism 3: keys and features that only a newer peer knows are ignored, and WELCOME names the common ones", async () => {
    const { clock, client, link, hellos } = await accepted();
    const features = ["from-the-future"];
    client.send(helloFrame({ v: [1, 9], features, newer: { deep: [1, 2] } }));
    await clock.run(10);
    await link.ready;
    expect(client.kinds).toEqual([KIND.WELCOME]);
    expect(decodeControl(parseFrame(client.seen.frames[0]!).header)).toMatchObject({ v: 1, features: [] });
    expect(hellos[0]).toMatchObject({ features });
    expect(hellos[0]).not.toHaveProperty("newer");
  });

  test("mechanism 3: a dialer names its features, and takes a WELCOME that says more than it knows", async () => {
    const clock = new SimulatedClock();
    const network = new MemoryNetwork(clock);
    let answering: Channel | undefined;
    const said: Record<string, unknown>[] = [];
    network.listen("newer", (channel) => {
      answering = channel;
      channel.start({
        onFrame: (raw) => void said.push(decodeControl(parseFrame(raw).header) as Record<string, unknown>),
        onDrain() {},
        onClose() {},
      });
    });
    const channel = await network.at("node_a/driver_a").dial("memory:newer");
    const events = { onOpen() {}, onClose() {} };
    const link = Link.dialed({ channel, self, clock, logger: silentLogger, events }, "data");
    await clock.run(10);
    expect(said[0]).toMatchObject({ magic: "whipray", v: [1, 1], features: [] });
    const welcome = { v: 1, address: "head/head", inc: "inc_n", features: [], resumeMs: 30_000, newer: 1 };
    answering!.send([encodeFrame(0, KIND.WELCOME, 0, 0, encodeControl(welcome))]);
    await clock.run(10);
    await link.ready;
    expect(link.identity).toMatchObject({ address: "head/head", incarnation: "inc_n" });
    link.destroy();
  });
});

describe("B14: link frames of unknown kinds", () => {
  test("nine are counted and dropped, the link lives; the tenth closes it with UNKNOWN_MESSAGE", async () => {
    const { clock, client, ends } = await accepted();
    client.send(helloFrame());
    await clock.run(10);
    for (let i = 1; i < UNKNOWN_FRAMES_LIMIT; i++) client.send(encodeFrame(0, UNKNOWN_KIND, 0, i));
    client.send(encodeFrame(0, KIND.PING, 0, 7));
    await clock.run(10);
    expect([client.kinds, ends]).toEqual([[KIND.WELCOME, KIND.PONG], []]);
    client.send(encodeFrame(0, UNKNOWN_KIND, 0, UNKNOWN_FRAMES_LIMIT));
    await clock.run(10);
    expect([client.ended, ends[0]?.code]).toEqual([true, "UNKNOWN_MESSAGE"]);
  });
});
