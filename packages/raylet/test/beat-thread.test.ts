import { MessageChannel } from "node:worker_threads";
import { randomIds, silentLogger, systemClock, systemRandom } from "@whipray/core";
import { dialTransport, listenUnix, nodeBeat, nodeRenewals, WireEndpoint } from "@whipray/rpc";
import { describe, expect, onTestFinished, test } from "vitest";
import { type BeatNews, runBeatThread } from "../src/beat-thread.ts";
import { threadedBeats } from "../src/threaded-beats.io.ts";
import { FakeNetwork } from "./fake-endpoint.ts";
import { temporaryFolder, until } from "./temporary-folder.ts";

const services = { clock: systemClock, ids: randomIds(), random: systemRandom, logger: silentLogger };

describe("beats from a thread of their own (mechanism 6)", () => {
  test("F40 come while the main loop is blocked", async () => {
    const path = `${temporaryFolder()}/head/s`;
    const transport = dialTransport();
    const head = new WireEndpoint({
      ...services,
      address: "head/head",
      role: "head",
      token: "h",
      transport,
      admit() {},
    });
    const beats: number[] = [];
    head.serve(nodeBeat, ({ n }) => {
      beats.push(n);
      return { n };
    });
    const listener = await listenUnix(path, (channel) => head.accept(channel));
    const file = new URL("./beat-main.ts", import.meta.url);
    const threaded = threadedBeats(file, { headUrl: `unix:${path}` }, systemClock, silentLogger);
    onTestFinished(async () => {
      await threaded.close();
      await listener.close();
      await head.close();
    });
    threaded.listen({ onTurn() {}, onRefused() {} });
    threaded.registered({ epoch: 1, beatMs: 50, peers: [] });
    await until("the first beats", () => beats.length > 2, 25_000);
    const before = beats.length;
    const untilMs = performance.now() + 1_500;
    while (performance.now() < untilMs);
    await new Promise((resolve) => setImmediate(resolve));
    await until("the beats of meanwhile", () => beats.length >= before + 10, 1_000);
    expect(threaded.answer().renewedAgoMs).toBeLessThan(10_000);
  });

  test("a node that is cut off tells the guards' thread itself", async () => {
    const network = new FakeNetwork();
    const peer = network.endpoint("node_b/raylet", "raylet");
    peer.serve(nodeRenewals, () => ({ renewedAgoMs: 100, steadyMs: 1e6 }));
    const [main, guards] = [new MessageChannel(), new MessageChannel()];
    const news: BeatNews[] = [];
    const commands: unknown[] = [];
    main.port1.on("message", (one: BeatNews) => news.push(one));
    guards.port1.on("message", (one) => commands.push(one));
    // Time runs twenty times as fast.
    const clock = {
      ...systemClock,
      now: () => systemClock.now() * 20,
      after: (ms: number, run: () => void) => systemClock.after(ms / 20, run),
    };
    runBeatThread(main.port2, {
      endpoint: network.endpoint("node_a/beats", "raylet"),
      headUrl: "x",
      nodeId: "node_a",
      clock,
      random: systemRandom,
    });
    onTestFinished(() => main.port1.close());
    main.port1.postMessage({ to: "guards", port: guards.port2 }, [guards.port2]);
    main.port1.postMessage({
      to: "registered",
      terms: { epoch: 1, beatMs: 1_000, peers: [{ nodeId: "node_b", url: "ws://b" }] },
    });
    await until("the guards are told", () => commands.length > 0);
    expect(commands).toEqual([{ to: "killAll" }]);
    const turns = news.filter((one) => one.news === "turn").map(({ turn }) => turn.fence ?? turn.state);
    await until("the main loop is told", () => news.some((one) => one.news === "turn" && one.turn.fence === "all"));
    expect(turns).toContain("suspect");
    main.port1.postMessage({ to: "close" });
    await until("it closed", () => !network.endpoints.has("node_a/beats"));
  });
});
