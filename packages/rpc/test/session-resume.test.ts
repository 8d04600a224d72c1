import { WhiprayError } from "@whipray/core";
import { describe, expect, test } from "vitest";
import { countingEcho, net, readText, run, text, to } from "./wire-pair.ts";

describe("calls over a session", () => {
  test("a call and its reply", async () => {
    const { clock, endpoint } = net();
    const runs = countingEcho(endpoint("node_b/worker_b", "worker"));
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    expect(readText(await run(clock, peer.call("echo", text("hello"))))).toBe("hello");
    expect(runs.get("echo hello")).toBe(1);
    expect(peer.incarnation).toMatch(/^inc_/);
  });

  test("large messages of several parts arrive whole, in chunks", async () => {
    const { clock, endpoint } = net();
    countingEcho(endpoint("node_b/worker_b", "worker"));
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    const big = new Uint8Array(5_000_000).map((_, i) => i % 251);
    const reply = await run(clock, peer.call("echo", [...text("x"), big, new Uint8Array(0), big.subarray(7, 9)]));
    expect(reply.map((part) => part.length)).toEqual([1, 5_000_000, 0, 2]);
    expect(Buffer.compare(Buffer.from(reply[1] as Uint8Array), Buffer.from(big))).toBe(0);
  });

  test("P10: calls start in the order in which they were made, also behind a chunked one", async () => {
    const { clock, endpoint } = net();
    const server = endpoint("node_b/worker_b", "worker");
    const order: number[] = [];
    server.onCall((call) => {
      order.push(Number(call.method));
      call.reply([]);
    });
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    const calls = Array.from({ length: 20 }, (_, i) =>
      peer.call(String(i), i % 5 === 0 ? [new Uint8Array(300_000)] : text("s")),
    );
    await run(clock, Promise.all(calls));
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  test("P10: calls that are lost do not stall the rest: those that are cancelled amid their chunks, and those that nobody answers", async () => {
    const { clock, endpoint } = net({ delayMs: () => 1 });
    const order: number[] = [];
    endpoint("node_b/worker_b", "worker").onCall((call) => {
      order.push(Number(call.method));
      if (Number(call.method) % 5 !== 1) call.reply([]);
    });
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    const stop = new AbortController();
    const calls = Array.from({ length: 40 }, (_, i) => {
      if (i % 5 === 0) return peer.call(String(i), [new Uint8Array(3_000_000)], { signal: stop.signal });
      return peer.call(String(i), text("s"), i % 5 === 1 ? { timeoutMs: 2_000 } : {});
    });
    const outcomes = Promise.allSettled(calls);
    await clock.run(8);
    expect(order).toEqual([]); // the first one's chunks are under way
    stop.abort();
    const ended = (await run(clock, outcomes)).map(({ status }) => status === "fulfilled");
    // One that is cancelled under way may still run: its callee has the last word.
    for (const [i, well] of ended.entries()) if (i % 5 > 0) expect(well, `call ${i}`).toBe(i % 5 > 1);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(order.filter((i) => i % 5 > 1)).toHaveLength(24);
  });

  test("errors keep code, message and details", async () => {
    const { clock, endpoint } = net();
    endpoint("node_b/worker_b", "worker").onCall((call) => {
      call.fail(new WhiprayError({ code: "NOT_TODAY", message: "no", details: { limit: 3 }, retryable: true }));
    });
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    await expect(run(clock, peer.call("x", []))).rejects.toMatchObject({
      code: "NOT_TODAY",
      message: "no",
      retryable: true,
      details: { limit: 3 },
    });
  });
});

describe("P9: a call runs at most once", () => {
  // Every frame of the conversation is once the one at which the connection breaks, and is lost.
  test("cut at every protocol step: each call has one execution and its own reply", async () => {
    let steps = 0;
    for (let cutAt = 0; cutAt <= steps + 1 && cutAt < 200; cutAt++) {
      let frames = 0;
      const { clock, endpoint } = net({ cut: () => frames++ === cutAt, delayMs: () => 1 }, cutAt + 1);
      const runs = countingEcho(endpoint("node_b/worker_b", "worker"));
      const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
      const first = await run(clock, peer.call("echo", text("first")));
      const rest = ["a", "b"].map((name) => peer.call("echo", text(name)));
      rest.push(peer.call("big", [...text("c"), new Uint8Array(600_000)]));
      const replies = await run(clock, Promise.all(rest));
      expect([first, ...replies].map(readText), `cut at frame ${cutAt}`).toEqual(["first", "a", "b", "c"]);
      expect([...runs.values()], `executions, cut at frame ${cutAt}`).toEqual([1, 1, 1, 1]);
      steps = Math.max(steps, frames);
    }
    expect(steps).toBeGreaterThan(12);
  });

  test("large messages go on where a cut left them: connections that carry a part each bring them over", async () => {
    // One frame a millisecond each way, and a cut every 30 ms; 4 MB have 16 chunks, and what is under way is lost.
    let nextCutMs = 30;
    let cuts = 0;
    const freeMs: Record<string, number> = {};
    const now = (): number => clock.now();
    const { clock, endpoint } = net({
      cut: () => {
        if (now() < nextCutMs) return false;
        nextCutMs = now() + 30;
        return ++cuts > 0;
      },
      delayMs: (from) => {
        const at = Math.max(now(), freeMs[from] ?? 0) + 1;
        freeMs[from] = at;
        return at - now();
      },
    });
    const runs = countingEcho(endpoint("node_b/worker_b", "worker"));
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    const body = (n: number) => new Uint8Array(12_000_000).fill(n + 1, n * 1_000_000);
    const calls = Array.from({ length: 3 }, (_, n) => peer.call("echo", [...text(`${n}`), body(n), body(n + 1)]));
    const replies = await run(clock, Promise.all(calls), 30_000);
    expect(replies.map(readText)).toEqual(["0", "1", "2"]);
    for (const [n, [, one, other]] of replies.entries()) {
      expect(Buffer.compare(one!, body(n)) || Buffer.compare(other!, body(n + 1)), `call ${n}`).toBe(0);
    }
    expect([...runs.values()]).toEqual([1, 1, 1]);
    expect(cuts).toBeGreaterThan(5);
  });

  test("random cuts over 300 calls: one execution each, order kept, every call ends", async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const cuts = {
        cut: () => Math.imul(seed * 7919 + counter++, 2654435761) >>> 0 < 0.004 * 2 ** 32,
        delayMs: () => 1,
      };
      let counter = 0;
      const { clock, endpoint } = net(cuts, seed);
      const server = endpoint("node_b/worker_b", "worker");
      const started: number[] = [];
      server.onCall((call) => {
        started.push(Number(readText(call.parts)));
        clock.after(started.length % 7, () => call.reply(call.parts));
      });
      const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
      const calls = Array.from({ length: 300 }, (_, i) => peer.call("n", text(String(i))));
      const replies = await run(clock, Promise.all(calls), 600_000);
      expect(replies.map(readText).map(Number), `seed ${seed}`).toEqual(Array.from({ length: 300 }, (_, i) => i));
      expect(started, `seed ${seed}`).toEqual(Array.from({ length: 300 }, (_, i) => i));
    }
  });

  test("a restarted receiver: calls that went out are OUTCOME_UNKNOWN and are not sent again", async () => {
    const { clock, network, endpoint } = net();
    const old = endpoint("head/head", "head");
    old.onCall(() => {});
    const client = endpoint("head/driver_a", "driver");
    const peer = client.connect({ ...to("head/head"), url: "memory:one", restarts: true });
    network.listen("one", (channel) => current.accept(channel));
    let current = old;
    let resets = 0;
    peer.onReset(() => resets++);
    const lost = peer.call("work", text("1"));
    lost.catch(() => {});
    await clock.run(100);
    current = endpoint("head/head2", "head", { address: "head/head" });
    const runs = countingEcho(current);
    await old.close();
    network.cut(() => true);
    await expect(run(clock, lost)).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
    expect(readText(await run(clock, peer.call("work", text("2"))))).toBe("2");
    expect([...runs.keys()]).toEqual(["work 2"]);
    expect(resets).toBe(1);
  });
});

describe("P11: every call ends", () => {
  test("no route for the resume time: sent calls OUTCOME_UNKNOWN, unsent ones UNREACHABLE", async () => {
    const { clock, network, endpoint } = net();
    endpoint("node_b/worker_b", "worker").onCall(() => {});
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    const sent = peer.call("x", []);
    await clock.run(100);
    network.partition(() => true);
    network.cut(() => true);
    await clock.run(10);
    const unsent = peer.call("y", []);
    const [first, second] = await run(clock, Promise.allSettled([sent, unsent]));
    expect(first).toMatchObject({ status: "rejected", reason: { code: "OUTCOME_UNKNOWN" } });
    expect(second).toMatchObject({ status: "rejected", reason: { code: "UNREACHABLE", retryable: true } });
    await expect(peer.call("z", [])).rejects.toMatchObject({ code: "UNREACHABLE" });
  });

  test("deadline: the caller learns in time, and the callee's signal is aborted", async () => {
    const { clock, endpoint } = net();
    let reason: unknown;
    endpoint("node_b/worker_b", "worker").onCall((call) => {
      call.signal.addEventListener("abort", () => {
        reason = call.signal.reason;
      });
    });
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    await expect(run(clock, peer.call("x", [], { timeoutMs: 50 }))).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
    await clock.run(100);
    expect(reason).toBeInstanceOf(WhiprayError);
  });

  test("B42: deadlines that are none, or past", async () => {
    const { endpoint } = net();
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    await expect(peer.call("x", [], { timeoutMs: 0 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await expect(peer.call("x", [], { timeoutMs: -5 })).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await expect(peer.call("x", [], { timeoutMs: Number.NaN })).rejects.toMatchObject({ code: "RANGE" });
  });

  test("cancel: before it was sent it never runs; running it gets its signal and the callee has the last word", async () => {
    const { clock, endpoint } = net();
    const runs: string[] = [];
    endpoint("node_b/worker_b", "worker").onCall((call) => {
      runs.push(call.method);
      call.signal.addEventListener("abort", () => call.fail(call.signal.reason));
    });
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    const early = new AbortController();
    const never = peer.call("never", [], { signal: early.signal });
    early.abort();
    await expect(never).rejects.toMatchObject({ code: "CANCELLED" });
    const late = new AbortController();
    const running = peer.call("running", [], { signal: late.signal });
    await clock.run(50);
    late.abort();
    await expect(run(clock, running)).rejects.toMatchObject({ code: "CANCELLED" });
    expect(runs).toEqual(["running"]);
  });

  test("a goodbye ends the other side's session at once", async () => {
    const { clock, endpoint } = net();
    const server = endpoint("node_b/worker_b", "worker");
    let aborted = false;
    server.onCall((call) => call.signal.addEventListener("abort", () => (aborted = true)));
    const client = endpoint("node_a/driver_a", "driver");
    const pending = client.connect(to("node_b/worker_b")).call("x", []);
    pending.catch(() => {});
    await clock.run(50);
    await client.close();
    await clock.run(50);
    expect(aborted).toBe(true);
    await expect(pending).rejects.toBeInstanceOf(WhiprayError);
  });

  test("a second process under the same address: calls of the first one end, and it can come back", async () => {
    const { clock, endpoint } = net();
    const server = endpoint("head/head", "head");
    server.onCall((call) => {
      if (call.method === "now") call.reply(call.parts);
    });
    const first = endpoint("node_a/raylet", "raylet").connect({ ...to("head/head"), restarts: true });
    await run(clock, first.call("now", text("1")));
    const pending = first.call("never", []);
    pending.catch(() => {});
    await clock.run(10);
    const second = endpoint("node_a/raylet2", "raylet", { address: "node_a/raylet" }).connect(to("head/head"));
    expect(readText(await run(clock, second.call("now", text("2"))))).toBe("2");
    await expect(run(clock, pending, 5_000)).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
    expect(readText(await run(clock, first.call("now", text("3")), 5_000))).toBe("3");
  });
});
