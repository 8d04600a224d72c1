import { WhiprayError } from "@whipray/core";
import { encodeControl, type Parts, type Peer, type TerminalItem, terminalWrite } from "@whipray/rpc";
import { expect, test } from "vitest";
import { DETACH_KEY, type Screen } from "../src/screen.ts";
import { KEYS_WAITING_LIMIT_BYTES, TerminalSession } from "../src/terminal-session.ts";

/** A raylet that never answers keys, and a terminal in memory. */
function fakes(items: TerminalItem[]) {
  const left = new AbortController();
  const seen = { shown: "", said: [] as string[], calls: [] as string[], typedBytes: 0, released: 0 };
  let keyboard: (keys: Uint8Array) => void = () => {};
  const ready = Promise.withResolvers<void>();
  const screen: Screen = {
    ...{ interactive: true, isTerminal: true, left: left.signal, who: "ann" },
    size: () => ({ columns: 80, rows: 24 }),
    async show(data) {
      seen.shown += String(Buffer.from(data as Uint8Array));
    },
    takeKeyboard(listener) {
      keyboard = listener;
      ready.resolve();
      return () => void seen.released++;
    },
    onResize: () => {},
  };
  async function* stream(): AsyncGenerator<Parts> {
    for (const item of items) yield [encodeControl(item)];
    await new Promise(() => {});
  }
  const raylet = {
    stream,
    invoke(method: { name: string }, request: { data?: Uint8Array }) {
      seen.calls.push(method.name);
      seen.typedBytes += request.data?.length ?? 0;
      return method.name === terminalWrite.name ? new Promise(() => {}) : Promise.resolve();
    },
  } as unknown as Peer;
  const say = (line: string): void => void seen.said.push(line);
  const options = { raylet, process: "actor_a", screen, say, timeoutMs: 50, mode: "write" as const, steal: false };
  return { options, seen, left, ready: ready.promise, type: (keys: Uint8Array) => keyboard(keys) };
}

const FIRST: TerminalItem = { viewer: 1, process: "engine_a", mode: "write" };

test("keys beyond the limit are refused with a line while the node does not take them, and ctrl-] still leaves", async () => {
  const { options, seen, ready, type } = fakes([FIRST]);
  const running = new TerminalSession(options).run();
  await ready;
  type(new Uint8Array(KEYS_WAITING_LIMIT_BYTES).fill(97));
  type(Buffer.from("b"));
  expect(seen.typedBytes).toBe(KEYS_WAITING_LIMIT_BYTES);
  expect(seen.said.at(-1)).toContain("1 bytes were not typed");
  type(Uint8Array.of(DETACH_KEY));
  await running;
  expect(seen.calls.at(-1)).toBe("terminal.detach");
  expect(seen.released).toBeGreaterThan(0);
});

test("what is typed before ctrl-] in one piece is typed, what comes after it is not", async () => {
  const { options, seen, ready, type } = fakes([FIRST]);
  const running = new TerminalSession(options).run();
  await ready;
  type(Buffer.from("ab\u001dcd"));
  await running;
  expect(seen.typedBytes).toBe(2);
});

test("after the keyboard was taken, keys go nowhere and Ctrl-C leaves", async () => {
  const { options, seen, ready, type } = fakes([FIRST, { mode: "watch", by: "bob" }]);
  const running = new TerminalSession(options).run();
  await ready;
  while (!seen.said.some((line) => line.includes("bob took the keyboard"))) await new Promise(setImmediate);
  type(Buffer.from("x\u0003"));
  await running;
  expect(seen.typedBytes).toBe(0);
});

test("a gap is told of where it is", async () => {
  const { options, seen, left } = fakes([
    FIRST,
    { data: Buffer.from("a") },
    { dropped: 7 },
    { data: Buffer.from("b") },
  ]);
  const running = new TerminalSession(options).run();
  while (!seen.shown.endsWith("b")) await new Promise(setImmediate);
  left.abort();
  await running;
  expect(seen.shown).toBe("a\n[7 bytes dropped]\nb");
});

test("a node that does not answer is TIMEOUT; a refusal goes through", async () => {
  await expect(new TerminalSession(fakes([]).options).run()).rejects.toMatchObject({ code: "TIMEOUT" });
  const refused = fakes([]);
  const error = new WhiprayError({ code: "TERMINAL_BUSY", message: "bob types" });
  Object.assign(refused.options.raylet, {
    stream: () => ({ next: () => Promise.reject(error), return: async () => {} }),
  });
  await expect(new TerminalSession(refused.options).run()).rejects.toBe(error);
});
