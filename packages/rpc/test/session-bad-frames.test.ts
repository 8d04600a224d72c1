import { describe, expect, test } from "vitest";
import {
  CHUNK_BYTES,
  encodeControl,
  encodeFrame,
  KIND,
  MAX_MESSAGE_BYTES,
  MAX_PENDING_BYTES,
  parseFrame,
  UNKNOWN_FRAMES_LIMIT,
} from "../src/index.ts";
import { CallerLedger } from "../src/session/caller-ledger.ts";
import { codeOf } from "./frames.ts";
import { helloFrame, openFrame, RawClient } from "./raw-client.ts";
import { countingEcho, net, readText, run, text, to } from "./wire-pair.ts";

const ROUTE = 1;
const UNKNOWN_KIND = 99;
const requestFrame = (sequence: number, word: string, more: Record<string, unknown> = {}): Uint8Array =>
  encodeFrame(ROUTE, KIND.REQUEST, 0, sequence, encodeControl({ m: "echo", ...more }), text(word)[0]);

/** An endpoint that echoes, and a client by hand with a route to it. */
async function opened(more: Record<string, unknown> = {}) {
  const { clock, network, endpoint } = net();
  const server = endpoint("node_b/worker_b", "worker");
  const runs = countingEcho(server);
  const client = await RawClient.dial(network, "node_b/worker_b");
  client.send(helloFrame(more));
  await clock.run(10);
  client.send(openFrame(ROUTE, "node_b/worker_b", more));
  await clock.run(10);
  expect(client.kinds).toEqual([KIND.WELCOME, KIND.OPENED]);
  const replies = (): string[] =>
    client.seen.frames
      .map(parseFrame)
      .filter((frame) => frame.kind === KIND.REPLY)
      .map((frame) => `${frame.sequence} ${readText([frame.body])}`);
  return { clock, endpoint, client, runs, replies };
}

describe("B14: frames that nobody expects", () => {
  test("the same call id twice runs once and is answered once", async () => {
    const { clock, client, runs, replies } = await opened();
    client.send(requestFrame(1, "a"), requestFrame(1, "a"), requestFrame(1, "other"), requestFrame(2, "b"));
    await clock.run(10);
    client.send(requestFrame(1, "late"));
    await clock.run(10);
    expect([...runs]).toEqual([
      ["echo a", 1],
      ["echo b", 1],
    ]);
    expect(replies()).toEqual(["1 a", "2 b"]);
    expect(client.ended).toBe(false);
  });

  test("replies, errors, items and ends of unknown calls are dropped; the session goes on", async () => {
    const { clock, client, replies } = await opened();
    const error = encodeControl({ name: "Error", code: "X", message: "x" });
    client.send(
      encodeFrame(ROUTE, KIND.REPLY, 0, 77, undefined, text("?")[0]),
      encodeFrame(ROUTE, KIND.ERROR, 0, 78, undefined, error),
      encodeFrame(ROUTE, KIND.ITEM, 0, 79, encodeControl({ i: 0 }), text("?")[0]),
      encodeFrame(ROUTE, KIND.END, 0, 80, encodeControl({ n: 1 })),
      encodeFrame(ROUTE, KIND.CANCEL, 0, 81),
      requestFrame(1, "still here"),
    );
    await clock.run(10);
    expect(replies()).toEqual(["1 still here"]);
    expect(client.ended).toBe(false);
  });

  test("nine frames of unknown kinds change nothing, the tenth closes the link; other links go on", async () => {
    const { clock, endpoint, client, replies } = await opened();
    for (let i = 1; i < UNKNOWN_FRAMES_LIMIT; i++) client.send(encodeFrame(ROUTE, UNKNOWN_KIND, 0, i));
    client.send(requestFrame(1, "ninth"));
    await clock.run(10);
    expect([replies(), client.ended]).toEqual([["1 ninth"], false]);
    client.send(encodeFrame(ROUTE, UNKNOWN_KIND, 0, UNKNOWN_FRAMES_LIMIT), requestFrame(2, "never"));
    await clock.run(10);
    expect([replies(), client.ended]).toEqual([["1 ninth"], true]);
    const other = endpoint("node_c/driver_c", "driver").connect(to("node_b/worker_b"));
    expect(readText(await run(clock, other.call("echo", text("other"))))).toBe("other");
  });

  test("mechanism 3: header keys that only a newer peer knows are ignored in HELLO, OPEN and calls", async () => {
    const { clock, client, replies } = await opened({ newer: { deep: [1] } });
    client.send(requestFrame(1, "hi", { zz: 1, newer: ["x"] }));
    await clock.run(10);
    expect(replies()).toEqual(["1 hi"]);
  });

  test("a call header with a count that is none ends the link (B11)", async () => {
    for (const bad of [Number.NaN, -1, 2 ** 53, 1.5]) {
      const { clock, client, runs } = await opened();
      client.send(requestFrame(1, "x", { d: bad }));
      await clock.run(10);
      expect([client.ended, runs.size]).toEqual([true, 0]);
    }
  });
});

describe("B17: too much", () => {
  const limits = { maxCalls: 3, maxBytes: 100 };

  test("calls under way beyond the limit are BUSY and not taken; a reply makes room", () => {
    const ledger = new CallerLedger<string>(limits);
    const taken = ["a", "b", "c"].map((name) => ledger.add(name, 1));
    expect(() => ledger.add("d", 1)).toThrow(
      expect.objectContaining({ code: "BUSY", retryable: true, details: { calls: 3, bytes: 3, ...limits } }),
    );
    expect(ledger.size).toBe(3);
    ledger.settle(taken[0]!, 0);
    expect(ledger.add("d", 1)).toBe(4);
  });

  test("bytes under way beyond the limit are BUSY; one large call alone passes", () => {
    const ledger = new CallerLedger<string>(limits);
    const large = ledger.add("large", 101);
    expect(codeOf(() => ledger.add("small", 1))).toBe("BUSY");
    ledger.settle(large, 0);
    ledger.add("half", 60);
    expect(codeOf(() => ledger.add("more than the rest", 41))).toBe("BUSY");
    ledger.add("the rest", 40);
    expect(ledger.size).toBe(2);
  });

  // One array of zeros stands for gigabytes: the kernel gives no page of it that nobody touches, and nothing is sent.
  const part = new Uint8Array(MAX_PENDING_BYTES / 2 + 1);

  test("a session refuses more than a gibibyte under way with BUSY, at once", async () => {
    const { clock, endpoint } = net();
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/nobody"));
    const first = peer.call("x", [...text("1"), part]);
    first.catch(() => {});
    await expect(peer.call("x", [...text("2"), part])).rejects.toMatchObject({ code: "BUSY", retryable: true });
    await expect(run(clock, first)).rejects.toMatchObject({ code: "UNREACHABLE" });
  });

  test("a message above its limit is PAYLOAD_TOO_LARGE and names value and limit", async () => {
    const { endpoint } = net();
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/nobody"));
    const parts = [...text("1"), ...Array.from({ length: MAX_MESSAGE_BYTES / MAX_PENDING_BYTES / 0.5 }, () => part)];
    await expect(peer.call("x", parts)).rejects.toMatchObject({
      code: "PAYLOAD_TOO_LARGE",
      retryable: false,
      details: { what: "bytes", limit: MAX_MESSAGE_BYTES, value: 1 + part.length * (parts.length - 1) },
    });
  });

  test("a oneway call carries at most one chunk: more is PAYLOAD_TOO_LARGE, also without a route", async () => {
    const { clock, endpoint } = net();
    const server = endpoint("node_b/worker_b", "worker");
    const got: number[] = [];
    server.onCall((call) => {
      if (call.oneway) got.push(call.parts[0]!.length);
      else call.reply([]);
    });
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    const tooLarge = [new Uint8Array(CHUNK_BYTES), new Uint8Array(1)];
    expect(codeOf(() => peer.notify("x", tooLarge))).toBe("PAYLOAD_TOO_LARGE");
    await run(clock, peer.call("x", []));
    expect(codeOf(() => peer.notify("x", tooLarge))).toBe("PAYLOAD_TOO_LARGE");
    peer.notify("x", [new Uint8Array(CHUNK_BYTES)]);
    await clock.run(10);
    expect(got).toEqual([CHUNK_BYTES]);
  });
});
