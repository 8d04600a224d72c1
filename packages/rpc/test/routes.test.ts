import { WhiprayError } from "@whipray/core";
import { describe, expect, test } from "vitest";
import type { Transport } from "../src/index.ts";
import { countingEcho, net, readText, run, text, to } from "./wire-pair.ts";

/** driver → head → raylet of node_b → its worker, every hop a link of its own. */
function tunnel() {
  const base = net();
  const { endpoint, network } = base;
  const head = endpoint("head/head", "head", {
    route: (address) => {
      const node = address.slice(0, address.indexOf("/"));
      return node === "head" ? { accepted: address } : { accepted: `${node}/raylet` };
    },
  });
  const raylet = endpoint("node_b/raylet", "raylet", {
    route: (address) => {
      if (address === "node_b/gone")
        throw new WhiprayError({ code: "WORKER_CRASHED", message: "it was killed", where: { signal: "SIGKILL" } });
      return address.startsWith("node_b/") ? { url: `memory:${address}` } : { url: "memory:head/head" };
    },
  });
  raylet.connect({ to: "head/head", url: "memory:head/head", purpose: "data", restarts: true });
  const worker = endpoint("node_b/worker_b", "worker");
  const driver = endpoint("head/driver_a", "driver");
  return { ...base, network, head, raylet, worker, driver };
}

const through = (address: string) => ({ to: address, url: "memory:head/head", purpose: "data" as const });

describe("routes", () => {
  test("a driver that reaches only the head calls a worker through it and its raylet", async () => {
    const { clock, worker, driver } = tunnel();
    const runs = countingEcho(worker);
    await clock.run(10);
    const peer = driver.connect(through("node_b/worker_b"));
    expect(readText(await run(clock, peer.call("echo", [...text("hi"), new Uint8Array(1_000_000)])))).toBe("hi");
    expect(runs.size).toBe(1);
  });

  test("the worker calls back over the driver's own connection", async () => {
    const { clock, worker, driver } = tunnel();
    countingEcho(driver);
    await clock.run(10);
    driver.connect(through("node_b/worker_b"));
    await clock.run(10);
    const back = worker.connect({ to: "head/driver_a", url: "memory:node_b/raylet", purpose: "data" });
    // The driver must have a data link for it: it has, to the head.
    expect(readText(await run(clock, back.call("echo", text("back"))))).toBe("back");
  });

  test("the session survives cuts of any hop", async () => {
    const { clock, network, worker, driver } = tunnel();
    const runs = countingEcho(worker);
    await clock.run(10);
    const peer = driver.connect(through("node_b/worker_b"));
    for (const host of ["head/head", "node_b/raylet", "node_b/worker_b"]) {
      expect(readText(await run(clock, peer.call("echo", text(host))))).toBe(host);
      network.cut((from, at) => from === host || at === host);
    }
    expect(readText(await run(clock, peer.call("echo", text("end"))))).toBe("end");
    expect([...runs.values()]).toEqual([1, 1, 1, 1]);
  });

  test("a process that is gone is named by its raylet in the error", async () => {
    const { clock, driver } = tunnel();
    await clock.run(10);
    const peer = driver.connect(through("node_b/gone"));
    await expect(run(clock, peer.call("x", []))).rejects.toMatchObject({
      code: "WORKER_CRASHED",
      where: { signal: "SIGKILL" },
    });
  });

  test("nobody knows the way: NO_ROUTE at once", async () => {
    const { clock, endpoint } = net();
    endpoint("head/head", "head");
    const peer = endpoint("head/driver_a", "driver").connect(through("node_x/worker_y"));
    await expect(run(clock, peer.call("x", []), 1_000)).rejects.toMatchObject({ code: "NO_ROUTE" });
  });

  test("B14: an unknown method is an error of that call only", async () => {
    const { clock, endpoint } = net();
    const server = endpoint("node_b/worker_b", "worker");
    const peer = endpoint("node_a/driver_a", "driver").connect(to("node_b/worker_b"));
    await expect(run(clock, peer.call("nope", []))).rejects.toMatchObject({ code: "METHOD_NOT_FOUND" });
    countingEcho(server);
    expect(readText(await run(clock, peer.call("echo", text("still here"))))).toBe("still here");
  });
});

describe("who may come in", () => {
  const refuse = (hello: { token: string }) => {
    if (hello.token !== "good") throw new WhiprayError({ code: "UNAUTHENTICATED", message: "wrong token" });
  };

  test("B5: a wrong token is refused, and the caller is told at once", async () => {
    const { clock, endpoint } = net();
    countingEcho(endpoint("head/head", "head", { admit: refuse }));
    const bad = endpoint("head/driver_a", "driver", { token: "bad" }).connect(to("head/head"));
    await expect(run(clock, bad.call("x", []), 1_000)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    const good = endpoint("head/driver_b", "driver", { token: "good" }).connect(to("head/head"));
    expect(readText(await run(clock, good.call("x", text("in"))))).toBe("in");
  });

  test("without a rule nobody may", async () => {
    const { clock, endpoint } = net();
    endpoint("head/head", "head", { admit: undefined as never });
    const peer = endpoint("head/driver_a", "driver").connect(to("head/head"));
    await expect(run(clock, peer.call("x", []), 1_000)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  });

  test("an engine may only answer: its OPEN is refused", async () => {
    const { clock, endpoint } = net();
    countingEcho(endpoint("node_b/worker_b", "worker"));
    const engine = endpoint("node_b/engine_e", "engine").connect(to("node_b/worker_b"));
    await expect(run(clock, engine.call("x", []), 1_000)).rejects.toMatchObject({ code: "FORBIDDEN" });
  });

  test("a driver cannot claim another role or address in OPEN", async () => {
    const { clock, endpoint } = net();
    const server = endpoint("head/head", "head");
    const seen: string[] = [];
    server.onPeer((peer) => seen.push(`${peer.role} ${peer.address}`));
    countingEcho(server);
    // Role and address come from HELLO, where the token of the role is checked.
    const peer = endpoint("head/driver_a", "driver").connect(to("head/head"));
    await run(clock, peer.call("x", text("1")));
    expect(seen).toEqual(["driver head/driver_a"]);
  });
});

describe("credit", () => {
  test("P12: a route whose receiver takes nothing stops at its window, another route goes on", async () => {
    const { clock, network, raylet, endpoint, driver, worker } = tunnel();
    const slow = endpoint("node_b/slow", "worker");
    slow.onCall(() => {});
    countingEcho(worker);
    await clock.run(10);
    const stalled = driver.connect(through("node_b/slow"));
    await run(clock, stalled.call("x", [], { timeoutMs: 5 })).catch(() => {});
    // The stalled process is stopped: nothing comes back from it, its raylet cannot deliver.
    network.partition((from, at) => from === "node_b/slow" || at === "node_b/slow");
    const big = stalled.call("big", [new Uint8Array(1), new Uint8Array(64 * 1024 * 1024)]);
    big.catch(() => {});
    await clock.run(100);
    const small = driver.connect(through("node_b/worker_b"));
    expect(readText(await run(clock, small.call("echo", text("quick")), 500))).toBe("quick");
    expect(raylet.address).toBe("node_b/raylet");
    network.heal();
  });

  test("mechanism 1: a stalled data link holds up neither control calls nor beats", async () => {
    const { clock, network, endpoint } = net();
    const head = endpoint("head/head", "head");
    let beats = 0;
    head.onCall((call) => (call.oneway ? beats++ : call.reply([call.parts[0]!])));
    // Both purposes dial the same URL; each connection comes from a host of its own, so that one of them can stall.
    let dials = 0;
    const transport: Transport = { dial: (url, more) => network.at(`node_a/dial${++dials}`).dial(url, more) };
    const raylet = endpoint("node_a/raylet", "raylet", { transport });
    const control = raylet.connect({ ...to("head/head"), purpose: "control" });
    await run(clock, control.call("x", text("1")));
    const data = raylet.connect(to("head/head"));
    await run(clock, data.call("x", text("2")));
    expect(dials).toBe(2);
    network.partition((from, at) => from === "node_a/dial2" || at === "node_a/dial2");
    let done = false;
    const big = data.call("big", [...text("3"), new Uint8Array(64 * 1024 * 1024)]).finally(() => (done = true));
    await clock.run(100);
    for (let i = 0; i < 10; i++) {
      control.notify("beat", text("b"));
      expect(readText(await run(clock, control.call("x", text("quick")), 100))).toBe("quick");
    }
    expect([beats, done]).toEqual([10, false]);
    network.heal();
    expect(readText(await run(clock, big))).toBe("3");
  });
});
