import { timingSafeEqual } from "node:crypto";
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import type { Clock, Timer } from "@whipray/core";
import { GUARD_LINE_LIMIT_BYTES, type GuardEvent, parseGuardLine } from "./guard-lines.ts";
import { GUARD_BEAT_MS, GUARD_ECHO_LIMIT_MS } from "./guards.ts";

/** To the server of guards, which may live in another thread. */
export type GuardCommand =
  | { to: "expect"; lease: string; epoch: number; token: string }
  | { to: "kill"; lease: string; graceMs: number }
  /** Everything, now: the node fences itself. */
  | { to: "killAll" }
  | { to: "forget"; lease: string }
  | { to: "close" };

/** From the server of guards. */
export type GuardNews =
  | { news: "listening" }
  | { news: "failed"; message: string }
  | { news: "event"; lease: string; event: GuardEvent }
  /** It does not echo our beats: it is stopped, or its machine is out of breath. */
  | { news: "silent"; lease: string }
  | { news: "disconnected"; lease: string }
  | { news: "closed" };

interface Expected {
  readonly epoch: number;
  readonly token: string;
  socket: Socket | undefined;
  /** Kill that came before its guard did. */
  killMs: number | undefined;
  echoedAtMs: number;
  silentTold: boolean;
}

/**
 * The unix socket on which guards report. It beats them every second, whatever the rest of the raylet does: it runs in a
 * thread of its own, so that a blocked main loop kills no engine (design.md, mechanism 6).
 */
export class GuardServer {
  readonly #clock: Clock;
  readonly #tell: (news: GuardNews) => void;
  readonly #server: Server;
  readonly #expected = new Map<string, Expected>();
  readonly #sockets = new Set<Socket>();
  #beat = 0;
  #timer: Timer | undefined;

  constructor(path: string, clock: Clock, tell: (news: GuardNews) => void) {
    this.#clock = clock;
    this.#tell = tell;
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.on("error", (error) => tell({ news: "failed", message: `${path}: ${error.message}` }));
    rmSync(path, { force: true });
    this.#server.listen(path, () => {
      chmodSync(path, 0o600);
      this.#tick();
      tell({ news: "listening" });
    });
  }

  command(command: GuardCommand): void {
    switch (command.to) {
      case "expect": {
        const { lease, epoch, token } = command;
        const news = { socket: undefined, killMs: undefined, echoedAtMs: this.#clock.now(), silentTold: false };
        this.#expected.set(lease, { epoch, token, ...news });
        break;
      }
      case "kill": {
        const expected = this.#expected.get(command.lease);
        if (expected) kill(expected, command.graceMs);
        break;
      }
      case "killAll":
        for (const expected of this.#expected.values()) kill(expected, 0);
        break;
      case "forget":
        this.#expected.delete(command.lease);
        break;
      case "close":
        this.#close();
    }
  }

  #tick(): void {
    this.#timer = this.#clock.after(GUARD_BEAT_MS, () => this.#tick());
    this.#beat++;
    const nowMs = this.#clock.now();
    for (const [lease, expected] of this.#expected) {
      if (!expected.socket) continue;
      send(expected.socket, { beat: this.#beat });
      if (nowMs - expected.echoedAtMs < GUARD_ECHO_LIMIT_MS || expected.silentTold) continue;
      expected.silentTold = true;
      this.#tell({ news: "silent", lease });
    }
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    let lease: string | undefined;
    let held = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      const lines = (held + chunk).split("\n");
      held = lines.pop() ?? "";
      if (held.length > GUARD_LINE_LIMIT_BYTES) return socket.destroy();
      for (const line of lines) {
        if (lease === undefined) lease = this.#welcome(socket, line);
        else this.#heard(lease, line);
      }
    });
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => {
      this.#sockets.delete(socket);
      if (lease !== undefined) this.#tell({ news: "disconnected", lease });
    });
  }

  /** The lease of a guard that proved itself; others are hung up on. */
  #welcome(socket: Socket, line: string): string | undefined {
    const parsed = parseGuardLine(line);
    const hello = parsed && "hello" in parsed ? parsed.hello : undefined;
    const expected = hello && this.#expected.get(hello.lease);
    if (!expected || expected.socket || expected.epoch !== hello.epoch || !sameText(expected.token, hello.token)) {
      socket.destroy();
      return undefined;
    }
    expected.socket = socket;
    expected.echoedAtMs = this.#clock.now();
    send(socket, { welcome: 1 });
    if (expected.killMs !== undefined) kill(expected, expected.killMs);
    return hello.lease;
  }

  #heard(lease: string, line: string): void {
    const expected = this.#expected.get(lease);
    const parsed = parseGuardLine(line);
    if (!parsed || "hello" in parsed) return;
    if (expected) {
      expected.echoedAtMs = this.#clock.now();
      expected.silentTold = false;
    }
    if ("event" in parsed) this.#tell({ news: "event", lease, event: parsed.event });
  }

  #close(): void {
    this.#timer?.cancel();
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close(() => this.#tell({ news: "closed" }));
  }
}

function kill(expected: Expected, graceMs: number): void {
  expected.killMs = Math.min(graceMs, expected.killMs ?? Infinity);
  if (expected.socket) send(expected.socket, { kill: { graceMs }, epoch: expected.epoch });
}

function send(socket: Socket, line: Record<string, unknown>): void {
  if (!socket.destroyed) socket.write(`${JSON.stringify(line)}\n`);
}

function sameText(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)];
  return a.length === b.length && timingSafeEqual(a, b);
}
