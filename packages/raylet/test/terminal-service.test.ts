import {
  decodeControl,
  type Endpoint,
  type IncomingCall,
  type Method,
  type Peer,
  TERMINAL_CHUNK_LIMIT_BYTES,
  type TerminalItem,
  terminalAttach,
  terminalDetach,
  terminalItem,
  terminalResize,
  terminalWrite,
  viewerEnd,
} from "@whipray/rpc";
import { expect, test } from "vitest";
import { KEYS_LIMIT_BYTES, type Terminal } from "../src/terminal.ts";
import { VIEWERS_LIMIT } from "../src/terminal-seats.ts";
import { type Attachable, TerminalService } from "../src/terminal-service.ts";
import { VIEWER_BACKLOG_LIMIT_BYTES } from "../src/viewer-backlog.ts";

class FakeTerminal implements Terminal {
  readonly typed: string[] = [];
  readonly sizes: string[] = [];
  readonly listeners = new Set<(data: Uint8Array) => void>();
  scrollback = (): Buffer => Buffer.from("before\n");
  /** Keys are taken when this has settled. */
  reads = Promise.resolve();
  write(keys: Uint8Array): Promise<void> {
    this.typed.push(String(Buffer.from(keys)));
    return this.reads;
  }
  resize = (columns: number, rows: number): void => void this.sizes.push(`${columns}x${rows}`);
  onData(listener: (data: Uint8Array) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  print(text: string): void {
    for (const listener of this.listeners) listener(Buffer.from(text));
  }
}

/** A stream as its viewer sees it. */
class Viewing {
  readonly items: TerminalItem[] = [];
  reason: string | undefined;
  error: unknown;
  readonly abort = new AbortController();
  /** Items are taken. */
  reading = Promise.resolve();

  get shown(): string {
    return this.items.map(({ data }) => (data ? String(Buffer.from(data)) : "")).join("");
  }

  get viewer(): number {
    return this.items[0]!.viewer!;
  }
}

function node(engines: readonly Attachable[]) {
  const handlers = new Map<string, (request: unknown, call: IncomingCall) => unknown>();
  const add = (method: Method<unknown, unknown>, handler: (request: unknown, call: IncomingCall) => unknown): void => {
    handlers.set(method.name, handler);
  };
  const endpoint = { serve: add, serveRaw: add } as unknown as Endpoint;
  const find = (name: string) => (name === "actor_a" ? { engines, log: "worker_a" } : undefined);
  const service = new TerminalService({ endpoint, nodeId: "node_a", find });
  const peerOf = (address: string, role = "driver") => ({ address, role, hasRoute: true }) as unknown as Peer;
  return {
    service,
    peerOf,
    call<Request>(method: Method<Request, unknown>, request: Request, peer: Peer): unknown {
      return handlers.get(method.name)!(method.request(request, method.name), { peer } as IncomingCall);
    },
    attach(who: string, more: object = {}, peer = peerOf(who)): Viewing {
      const viewing = new Viewing();
      const call = {
        ...{ method: terminalAttach.name, peer, wantsStream: true, signal: viewing.abort.signal },
        async item([part]: Uint8Array[]) {
          viewing.items.push(terminalItem(decodeControl(part!), "item"));
          await viewing.reading;
        },
        end: ([part]: Uint8Array[]) => {
          viewing.reason = viewerEnd(decodeControl(part!), "end").reason;
        },
        fail: (error: unknown) => {
          viewing.error = error;
        },
      } as unknown as IncomingCall;
      const request = { process: "actor_a", mode: "write", steal: false, who, ...more };
      handlers.get(terminalAttach.name)!(terminalAttach.request(request, "attach"), call);
      return viewing;
    },
  };
}

function engine(process: string, terminal?: Terminal) {
  const ended = Promise.withResolvers<string>();
  return { process, terminal, ended: ended.promise, end: ended.resolve };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("the scrollback comes first, then output; the terminal gets the writer's size and keys", async () => {
  const terminal = new FakeTerminal();
  const { attach, call, peerOf } = node([engine("engine_a", terminal), engine("engine_b")]);
  const peer = peerOf("ann");
  const ann = attach("ann", { columns: 90, rows: 25 }, peer);
  terminal.print("after");
  await settled();
  expect(ann.items[0]).toMatchObject({ process: "engine_a", mode: "write" });
  expect(ann.shown).toBe("before\nafter");
  call(terminalWrite, { viewer: ann.viewer, data: Buffer.from("\u0003") }, peer);
  call(terminalResize, { viewer: ann.viewer, columns: 80, rows: 24 }, peer);
  expect(terminal.typed).toEqual(["\u0003"]);
  expect(terminal.sizes).toEqual(["90x25", "80x24"]);
});

test("one writes: a second is refused and told who does; one who watches neither types nor resizes", async () => {
  const terminal = new FakeTerminal();
  const { attach, call, peerOf } = node([engine("engine_a", terminal)]);
  attach("ann");
  expect(() => attach("bob")).toThrow(
    expect.objectContaining({ code: "TERMINAL_BUSY", details: { process: "engine_a", writer: "ann" } }),
  );
  const peer = peerOf("bob");
  const bob = attach("bob", { mode: "watch", columns: 10, rows: 10 }, peer);
  await settled();
  expect(bob.items[0]).toMatchObject({ mode: "watch" });
  expect(() => call(terminalWrite, { viewer: bob.viewer, data: Buffer.from("x") }, peer)).toThrow(
    expect.objectContaining({ code: "NOT_THE_WRITER", message: expect.stringContaining("ann") }),
  );
  call(terminalResize, { viewer: bob.viewer, columns: 1, rows: 1 }, peer);
  expect(terminal.sizes).toEqual([]);
});

test("a stolen keyboard: the old writer is told by whom, and watches on", async () => {
  const terminal = new FakeTerminal();
  const { attach, call, peerOf } = node([engine("engine_a", terminal)]);
  const peer = peerOf("ann");
  const ann = attach("ann", {}, peer);
  attach("bob", { steal: true });
  terminal.print("x");
  await settled();
  expect(ann.items).toContainEqual({ mode: "watch", by: "bob" });
  expect(ann.shown).toBe("before\nx");
  expect(() => call(terminalWrite, { viewer: ann.viewer, data: Buffer.from("x") }, peer)).toThrow(/bob does/);
});

test("a writer who cannot be reached does not hold the keyboard; one that comes back is told that it watches", async () => {
  const { attach, call, peerOf } = node([engine("engine_a", new FakeTerminal())]);
  const peer = peerOf("ann") as { hasRoute: boolean } & Peer;
  const ann = attach("ann", {}, peer);
  await settled();
  expect(() => attach("bob")).toThrow(expect.objectContaining({ code: "TERMINAL_BUSY" }));
  peer.hasRoute = false;
  attach("cid", { mode: "watch" });
  await settled();
  expect(ann.items).not.toContainEqual(expect.objectContaining({ mode: "watch" }));
  const bob = attach("bob");
  await settled();
  peer.hasRoute = true;
  expect(bob.items[0]).toMatchObject({ mode: "write" });
  expect(ann.items).toContainEqual({ mode: "watch", by: "bob" });
  expect(() => call(terminalWrite, { viewer: ann.viewer, data: Buffer.from("x") }, peer)).toThrow(/bob does/);
  expect(() => attach("dan")).toThrow(expect.objectContaining({ code: "TERMINAL_BUSY" }));
});

test("a viewer who leaves, by a word, a cancel or the end of its session, frees the keyboard and hears no more", async () => {
  const terminal = new FakeTerminal();
  const { attach, call, peerOf, service } = node([engine("engine_a", terminal)]);
  const peer = peerOf("ann");
  const ann = attach("ann", {}, peer);
  await settled();
  call(terminalDetach, { viewer: ann.viewer }, peer);
  await settled();
  expect(ann.reason).toBe("detached");
  const bob = attach("bob");
  bob.abort.abort(new Error("gone"));
  expect(bob.error).toMatchObject({ message: "gone" });
  expect(service.count).toBe(0);
  expect(terminal.listeners.size).toBe(0);
  attach("cid");
});

test("a viewer's number is its own peer's", async () => {
  const { attach, call, peerOf } = node([engine("engine_a", new FakeTerminal())]);
  const ann = attach("ann");
  await settled();
  const keys = { viewer: ann.viewer, data: Buffer.from("x") };
  expect(() => call(terminalWrite, keys, peerOf("ann"))).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
});

test("a viewer that takes nothing is dropped from and told how much; others are not held up", async () => {
  const terminal = new FakeTerminal();
  const { attach } = node([engine("engine_a", terminal)]);
  const reads = Promise.withResolvers<void>();
  const slow = attach("slow", { mode: "watch" });
  slow.reading = reads.promise;
  const quick = attach("quick", { mode: "watch" });
  const line = `${"x".repeat(1_023)}\n`;
  const lines = (3 * VIEWER_BACKLOG_LIMIT_BYTES) / line.length;
  for (let printed = 0; printed < lines; printed++) {
    terminal.print(line);
    if (printed % 64 === 0) await settled();
  }
  await settled();
  expect(quick.shown.length).toBe("before\n".length + lines * line.length);
  reads.resolve();
  await settled();
  const dropped = slow.items.reduce((sum, item) => sum + (item.dropped ?? 0), 0);
  expect(dropped).toBeGreaterThanOrEqual(VIEWER_BACKLOG_LIMIT_BYTES);
  expect(slow.shown.length + dropped).toBe("before\n".length + lines * line.length);
});

test("the end of the process ends the streams after its last words, with how it ended", async () => {
  const terminal = new FakeTerminal();
  const one = engine("engine_a", terminal);
  const { attach, service } = node([one]);
  const ann = attach("ann");
  terminal.print("last words");
  one.end("engine_a ended with exit code 3");
  await settled();
  expect(ann.shown).toBe("before\nlast words");
  expect(ann.reason).toBe("engine_a ended with exit code 3");
  expect(service.count).toBe(0);
});

test("what cannot be attached to says why: no terminal, several, unknown, too many viewers, no driver", () => {
  const plain = node([engine("engine_a")]);
  expect(() => plain.attach("ann")).toThrow(
    expect.objectContaining({ code: "NO_TERMINAL", details: { follow: "worker_a" } }),
  );
  expect(() => plain.attach("ann", { process: "actor_b" })).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
  const two = node([engine("engine_a", new FakeTerminal()), engine("engine_b", new FakeTerminal())]);
  expect(() => two.attach("ann")).toThrow(
    expect.objectContaining({ code: "AMBIGUOUS", message: expect.stringContaining("engine_a, engine_b") }),
  );
  const full = node([engine("engine_a", new FakeTerminal())]);
  for (let viewer = 0; viewer < VIEWERS_LIMIT; viewer++) full.attach("ann", { mode: "watch" });
  expect(() => full.attach("ann")).toThrow(expect.objectContaining({ code: "LIMIT" }));
  expect(() => plain.attach("w", {}, plain.peerOf("node_a/worker_a", "worker"))).toThrow(
    expect.objectContaining({ code: "FORBIDDEN" }),
  );
});

test.each([
  ["columns 0", { columns: 0, rows: 1 }],
  ["rows beyond the limit", { columns: 1, rows: 1_001 }],
  ["another mode", { mode: "shout" }],
  ["a long name", { who: "x".repeat(129) }],
])("%s is refused before anything happens", (_, more) => {
  const { attach, service } = node([engine("engine_a", new FakeTerminal())]);
  expect(() => attach("ann", more)).toThrow();
  expect(service.count).toBe(0);
});

test("keys that a process does not read wait up to a bound, also when who typed them left; more are refused with a count", async () => {
  const terminal = new FakeTerminal();
  const reads = Promise.withResolvers<void>();
  terminal.reads = reads.promise;
  const { attach, call, peerOf } = node([engine("engine_a", terminal)]);
  const [ann, bob] = [peerOf("ann"), peerOf("bob")];
  const first = attach("ann", {}, ann);
  await settled();
  const { viewer } = first;
  const data = Buffer.alloc(TERMINAL_CHUNK_LIMIT_BYTES, "x");
  const fits = KEYS_LIMIT_BYTES / data.length;
  const typed = Array.from({ length: fits }, () => call(terminalWrite, { viewer, data }, ann));
  call(terminalDetach, { viewer }, ann);
  const later = attach("bob", {}, bob);
  await settled();
  const refused = {
    code: "KEYS_NOT_READ",
    details: { bytes: 1, waitingBytes: KEYS_LIMIT_BYTES, limit: KEYS_LIMIT_BYTES },
  };
  const key = { viewer: later.viewer, data: Buffer.from("y") };
  await expect(call(terminalWrite, key, bob)).rejects.toMatchObject(refused);
  expect(terminal.typed).toHaveLength(fits);
  reads.resolve();
  await Promise.all(typed);
  await call(terminalWrite, key, bob);
  expect(terminal.typed.at(-1)).toBe("y");
});
