import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { WhiprayError } from "@whipray/core";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Channel, type Endpoint, type Listener, listenUnix, type Peer, unixTransport } from "../src/index.ts";
import { until } from "./frames.ts";
import { net } from "./wire-pair.ts";

// The clock stands still: whatever happens, happens without a wait.
let directory: string;
let path: string;
let listener: Listener;
let caller: Endpoint;
const channels: Channel[] = [];
let started: string[];
let peer: Peer;
let call: Promise<unknown>;
let answer: () => void;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "whipray-unix-"));
  path = join(directory, "s.sock");
  started = [];
  const { endpoint } = net();
  const worker = endpoint("node_a/worker", "worker");
  worker.onCall((incoming) => {
    started.push(incoming.method);
    answer = () => incoming.reply([Uint8Array.of(1)]);
  });
  listener = await listenUnix(path, (channel) => {
    channels.push(channel);
    worker.accept(channel);
  });
  caller = endpoint("head/driver", "driver", { transport: unixTransport });
  peer = caller.connect({ to: "node_a/worker", url: `unix:${path}`, purpose: "data" });
  call = peer.call("sleep", []);
  await until(() => started.length === 1);
});
afterEach(async () => {
  await caller.close();
  for (const channel of channels.splice(0)) channel.destroy();
  await listener.close();
  rmSync(directory, { recursive: true, force: true });
});

test("a process of this machine that died is known as gone as soon as its connection breaks", async () => {
  const closed = new Promise<WhiprayError>((resolve) => peer.onClose(resolve));
  await Promise.all([listener.close(), channels[0]!.destroy()]);
  expect((await closed).code).toBe("UNREACHABLE");
  await expect(call).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
});

test("one whose connection alone broke is reached again at once, and its call runs on", async () => {
  channels[0]!.destroy();
  await until(() => channels.length === 2);
  answer();
  expect(await call).toEqual([Uint8Array.of(1)]);
  expect(started).toEqual(["sleep"]);
});
