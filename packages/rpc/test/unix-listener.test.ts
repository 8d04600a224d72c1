import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Channel, type Listener, listenUnix, UNIX_PATH_BYTES, unixTransport } from "../src/index.ts";
import { numbered, Recorder, until } from "./frames.ts";

let directory: string;
let path: string;
const listeners: Listener[] = [];
const channels: Channel[] = [];
const listen = async (at = path): Promise<Listener> => {
  const listener = await listenUnix(at, (channel) => channels.push(channel));
  listeners.push(listener);
  return listener;
};

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "whipray-unix-"));
  path = join(directory, "s.sock");
});
afterEach(async () => {
  for (const channel of channels.splice(0)) channel.destroy();
  for (const listener of listeners.splice(0)) await listener.close();
  rmSync(directory, { recursive: true, force: true });
});

test("the socket is 0600 in a directory 0700 that is made when it is missing", async () => {
  await listen(join(directory, "a", "b", "s.sock"));
  expect(lstatSync(join(directory, "a", "b", "s.sock")).mode & 0o777).toBe(0o600);
  expect(lstatSync(join(directory, "a", "b")).mode & 0o777).toBe(0o700);
  expect(lstatSync(join(directory, "a")).mode & 0o777).toBe(0o700);
});

test("a directory that is open to others is refused", async () => {
  mkdirSync(join(directory, "open"));
  chmodSync(join(directory, "open"), 0o755);
  await expect(listen(join(directory, "open", "s.sock"))).rejects.toMatchObject({ code: "INVALID_PATH" });
});

test("a path where somebody listens is refused, and that one goes on", async () => {
  await listen();
  await expect(listen()).rejects.toMatchObject({ code: "ADDRESS_IN_USE" });
  const channel = await unixTransport.dial(`unix:${path}`);
  // One of the two was the newcomer that looked whether somebody is there.
  await until(() => channels.length === 2);
  channel.destroy();
});

test("a socket file that a killed process left behind is replaced", async () => {
  const script = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  spawnSync(process.execPath, ["-e", script]);
  expect(lstatSync(path).isSocket()).toBe(true);
  await listen();
  const channel = await unixTransport.dial(`unix:${path}`);
  await until(() => channels.length === 1);
  channel.destroy();
});

test("a file that is no socket is never removed", async () => {
  writeFileSync(path, "precious");
  await expect(listen()).rejects.toMatchObject({ code: "INVALID_PATH" });
  expect(lstatSync(path).isFile()).toBe(true);
});

test("closing removes the socket file, but not the one of a successor", async () => {
  const first = await listen();
  await first.close();
  expect(existsSync(path)).toBe(false);
  const second = await listen();
  rmSync(path);
  const third = await listen();
  await second.close();
  expect(existsSync(path)).toBe(true);
  await third.close();
  expect(existsSync(path)).toBe(false);
});

test("a path above the limit of the operating system is INVALID_ADDRESS, at the limit it works", async () => {
  const longest = join(directory, "x".repeat(UNIX_PATH_BYTES - directory.length - 1));
  await listen(longest);
  const channel = await unixTransport.dial(`unix:${longest}`);
  channel.destroy();
  await expect(listen(`${longest}x`)).rejects.toMatchObject({ code: "INVALID_ADDRESS" });
});

test("everything that is queued in one turn leaves in one write", async () => {
  const chunks: number[] = [];
  const server = createServer((socket) => socket.on("data", (chunk) => chunks.push(chunk.length))).listen(path);
  await until(() => server.listening);
  const channel = await unixTransport.dial(`unix:${path}`);
  channel.start(new Recorder());
  for (let i = 1; i <= 100; i++) channel.send([numbered(i)]);
  await until(() => chunks.length > 0);
  expect(chunks).toEqual([100 * 24]);
  channel.destroy();
  server.close();
});

test("an end inside a frame is LINK_BROKEN", async () => {
  await listen();
  const socket = connect(path);
  await until(() => channels.length === 1);
  const seen = new Recorder();
  channels[0]!.start(seen);
  socket.end(numbered(1).subarray(0, 22));
  await until(() => seen.ends.length === 1);
  expect(seen.ends[0]?.code).toBe("LINK_BROKEN");
});

test("a closed channel whose other side neither reads nor ends is destroyed after a while", {
  timeout: 20_000,
}, async () => {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => sockets.push(socket)).listen(
    path,
  );
  await until(() => server.listening);
  const channel = await unixTransport.dial(`unix:${path}`);
  const seen = new Recorder();
  channel.start(seen);
  for (let i = 1; i <= 20; i++) channel.send([numbered(i, 262_144)]);
  channel.close();
  await until(() => seen.ends.length === 1);
  for (const socket of sockets) socket.destroy();
  server.close();
});
