import {
  asWhiprayError,
  type Clock,
  type ErrorWire,
  errorFromWire,
  errorToWire,
  type Logger,
  type Timer,
  WhiprayError,
} from "@whipray/core";
import type { Purpose, Role } from "../call.ts";
import { decodeControl, encodeControl } from "../codec.ts";
import { encodePrefix, frameKind, frameRoute, KIND, parseFrame } from "../frame.ts";
import {
  HANDSHAKE_TIMEOUT_MS,
  LINK_IDLE_MS,
  MAX_ROUTES_PER_LINK,
  PREFIX_BYTES,
  UNKNOWN_FRAMES_LIMIT,
} from "../limits.ts";
import type { Channel } from "../transport.ts";
import {
  encodeHello,
  encodeWelcome,
  type Hello,
  type Introduction,
  type LinkIdentity,
  readHello,
  readWelcome,
} from "./handshake.ts";
import { LinkWriter, type Pieces } from "./link-writer.ts";

/** One end of a route on one link: a session's own end, or a half of a forwarder. */
export interface RouteEnd {
  /** A whole raw frame of this route, CLOSE excepted. */
  onFrame(raw: Uint8Array): void;
  /** The route is over, by CLOSE or with its link. */
  onClose(error: WhiprayError | undefined): void;
}

export interface LinkEvents {
  /** The other side opens a route. `raw` is its OPEN frame. */
  onOpen(link: Link, route: number, header: Uint8Array, raw: Uint8Array): void;
  /** Once, whatever ended it. */
  onClose(link: Link, error: WhiprayError | undefined): void;
  /** Acceptors only: may this HELLO come in? Throws a coded refusal. */
  admit?(hello: Hello, channel: Channel): void | Promise<void>;
}

export interface LinkOptions {
  channel: Channel;
  self: Introduction;
  clock: Clock;
  logger: Logger;
  events: LinkEvents;
}

const EMPTY = new Uint8Array(0);

/** One authenticated connection: handshake, routes, pings (PROTOCOL.md, "Links"). */
export class Link {
  readonly channel: Channel;
  readonly writer: LinkWriter;
  /** Settles when the handshake is done, or rejects with why it was not. */
  readonly ready: Promise<void>;
  /** Settles when the link is closed, whatever ended it. */
  readonly gone: Promise<void>;
  readonly #options: LinkOptions;
  readonly #dialed: boolean;
  readonly #dialedRole: Role | undefined;
  readonly #routes = new Map<number, RouteEnd>();
  #identity: LinkIdentity | undefined;
  #state: "greeting" | "open" | "closed" = "greeting";
  #nextRoute: number;
  #unknownFrames = 0;
  #timer: Timer;
  #silentRounds = 0;
  #heard = true;
  #resolveReady!: () => void;
  #rejectReady!: (error: WhiprayError) => void;
  #resolveGone!: () => void;

  private constructor(options: LinkOptions, dialed: boolean, purpose: Purpose, role?: Role) {
    this.#options = options;
    this.#dialedRole = role;
    this.channel = options.channel;
    this.writer = new LinkWriter(options.channel);
    this.#dialed = dialed;
    this.#nextRoute = dialed ? 1 : 2;
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    this.gone = new Promise((resolve) => {
      this.#resolveGone = resolve;
    });
    // Whoever does not wait for `ready` learns of the failure by onClose.
    this.ready.catch(() => {});
    this.#timer = options.clock.after(HANDSHAKE_TIMEOUT_MS, () => {
      this.destroy(
        new WhiprayError({
          code: "HANDSHAKE_TIMEOUT",
          message: `No handshake within ${HANDSHAKE_TIMEOUT_MS} ms`,
          retryable: true,
        }),
      );
    });
    this.channel.start({
      onFrame: (raw) => this.#onFrame(raw, purpose),
      onDrain: () => this.writer.drain(),
      onClose: (error) => this.#onClose(error),
    });
    if (dialed) this.#sendLink(KIND.HELLO, encodeHello(options.self, purpose));
  }

  /** The side that connected: says HELLO. `role` of the other side where that is known before: it decides what it may do. */
  static dialed(options: LinkOptions, purpose: Purpose, role?: Role): Link {
    return new Link(options, true, purpose, role);
  }

  /** The side that was connected to: waits for HELLO. */
  static accepted(options: LinkOptions): Link {
    return new Link(options, false, "data");
  }

  /** Known once `ready` has settled. */
  get identity(): LinkIdentity {
    if (!this.#identity) throw new Error("link identity read before the handshake");
    return this.#identity;
  }

  get closed(): boolean {
    return this.#state === "closed";
  }

  /** Sends OPEN with `header` and registers the end. @throws WhiprayError `BUSY` at the limit of routes, `LINK_BROKEN`. */
  open(end: RouteEnd, header: Uint8Array): number {
    if (this.closed)
      throw new WhiprayError({ code: "LINK_BROKEN", message: "The connection has ended", retryable: true });
    if (this.#routes.size >= MAX_ROUTES_PER_LINK) {
      throw new WhiprayError({
        code: "BUSY",
        message: `A link carries at most ${MAX_ROUTES_PER_LINK} routes`,
        retryable: true,
      });
    }
    const route = this.#nextRoute;
    this.#nextRoute += 2;
    this.#routes.set(route, end);
    this.write(route, [encodePrefix(route, KIND.OPEN, 0, header.length, 0, 0), header]);
    return route;
  }

  /** Takes on a route that the other side opened. */
  adopt(route: number, end: RouteEnd): void {
    this.#routes.set(route, end);
  }

  write(route: number, pieces: Pieces): void {
    if (this.#state !== "closed") this.writer.write(route, pieces);
  }

  /** Ends a route from this side; its end is not called. */
  closeRoute(route: number, error?: WhiprayError): void {
    if (!this.#routes.delete(route) || this.#state === "closed") return;
    this.writer.drop(route);
    this.refuseRoute(route, error);
  }

  /** CLOSE for a route that was never taken on. */
  refuseRoute(route: number, error?: WhiprayError): void {
    const body = error ? encodeError(error) : EMPTY;
    this.write(route, [encodePrefix(route, KIND.CLOSE, 0, 0, 0, body.length), body]);
  }

  close(error?: WhiprayError): void {
    if (this.#state !== "closed") this.channel.close(error);
  }

  /** Says that this process ends on purpose, then closes. */
  goodbye(): void {
    if (this.#state === "open") this.#sendLink(KIND.GOODBYE, EMPTY);
    this.close();
  }

  destroy(error?: WhiprayError): void {
    if (this.#state !== "closed") this.channel.destroy(error);
  }

  #sendLink(kind: number, header: Uint8Array, body: Uint8Array = EMPTY): void {
    this.channel.send([encodePrefix(0, kind, 0, header.length, 0, body.length), header, body]);
  }

  #onFrame(raw: Uint8Array, purpose: Purpose): void {
    this.#heard = true;
    if (this.#state === "greeting") {
      this.#greet(raw, purpose);
      return;
    }
    const route = frameRoute(raw);
    if (route === 0) {
      this.#onLinkFrame(raw);
      return;
    }
    const end = this.#routes.get(route);
    const kind = frameKind(raw);
    if (kind === KIND.CLOSE) {
      if (!end) return;
      this.#routes.delete(route);
      this.writer.drop(route);
      end.onClose(readError(raw));
    } else if (end) {
      end.onFrame(raw);
    } else if (kind === KIND.OPEN) {
      this.#onOpen(route, raw);
    }
    // Other frames of a route that ended here were under way when it did.
  }

  #onOpen(route: number, raw: Uint8Array): void {
    // Odd routes are the dialer's, even ones the acceptor's: a peer may only open its own.
    const theirs = (route & 1) === (this.#dialed ? 0 : 1);
    if (!theirs)
      this.destroy(
        new WhiprayError({ code: "FRAME_ROUTE", message: `Route ${route} is not the other side's to open` }),
      );
    else if (this.#routes.size >= MAX_ROUTES_PER_LINK) {
      this.refuseRoute(
        route,
        new WhiprayError({ code: "BUSY", message: `A link carries at most ${MAX_ROUTES_PER_LINK} routes` }),
      );
    } else this.#options.events.onOpen(this, route, parseFrame(raw).header, raw);
  }

  #onLinkFrame(raw: Uint8Array): void {
    const frame = parseFrame(raw);
    if (frame.kind === KIND.PING) this.channel.send([encodePrefix(0, KIND.PONG, 0, 0, frame.sequence, 0)]);
    else if (frame.kind === KIND.GOODBYE) this.close();
    else if (frame.kind !== KIND.PONG && ++this.#unknownFrames >= UNKNOWN_FRAMES_LIMIT) {
      this.destroy(
        new WhiprayError({
          code: "UNKNOWN_MESSAGE",
          message: `${UNKNOWN_FRAMES_LIMIT} frames of unknown kinds, the last ${frame.kind}`,
        }),
      );
    }
  }

  #greet(raw: Uint8Array, purpose: Purpose): void {
    if (this.#dialed) {
      const frame = parseFrame(raw);
      if (frame.kind === KIND.REFUSE)
        throw readError(raw) ?? new WhiprayError({ code: "REFUSED", message: "Refused without a reason" });
      if (frame.kind !== KIND.WELCOME)
        throw new WhiprayError({ code: "WRONG_PROTOCOL", message: "HELLO was not answered by WELCOME" });
      const welcome = readWelcome(frame.header);
      const { address, inc: incarnation } = welcome;
      this.#identity = { role: this.#dialedRole, address, incarnation, purpose, pid: undefined };
      this.#opened();
      return;
    }
    if (this.#identity) throw new WhiprayError({ code: "WRONG_PROTOCOL", message: "Frames before the WELCOME" });
    if (frameKind(raw) !== KIND.HELLO)
      throw new WhiprayError({ code: "WRONG_PROTOCOL", message: "The first frame is no HELLO" });
    void this.#admit(raw);
  }

  async #admit(raw: Uint8Array): Promise<void> {
    try {
      const hello = readHello(parseFrame(raw).header);
      this.#identity = {
        role: hello.role,
        address: hello.address,
        incarnation: hello.inc,
        purpose: hello.purpose,
        pid: hello.pid,
      };
      const verdict = this.#options.events.admit?.(hello, this.channel);
      if (verdict) await verdict;
      if (this.closed) return;
      this.#sendLink(KIND.WELCOME, encodeWelcome(this.#options.self, hello));
      this.#opened();
    } catch (error) {
      const refusal = asWhiprayError(error);
      this.#sendLink(KIND.REFUSE, EMPTY, encodeError(refusal));
      this.close(refusal);
    }
  }

  #opened(): void {
    this.#state = "open";
    this.#timer.cancel();
    if (this.#watched) this.#watch();
    this.#resolveReady();
  }

  // An engine whose C code holds the GIL answers nothing, for minutes: it is busy, never dead. Its guard and its pid tell
  // (design.md, mechanism 10).
  get #watched(): boolean {
    return this.#identity?.role !== "engine";
  }

  // One round each LINK_IDLE_MS: a round without a byte sends a ping, three of them in a row end the link.
  #watch(): void {
    this.#timer = this.#options.clock.after(LINK_IDLE_MS, () => {
      this.#silentRounds = this.#heard ? 0 : this.#silentRounds + 1;
      this.#heard = false;
      if (this.#silentRounds >= 3) {
        this.destroy(
          new WhiprayError({
            code: "LINK_SILENT",
            message: `Nothing came for ${4 * LINK_IDLE_MS} ms`,
            retryable: true,
          }),
        );
        return;
      }
      if (this.#silentRounds > 0) this.channel.send([encodePrefix(0, KIND.PING, 0, 0, 0, 0)]);
      this.#watch();
    });
  }

  #onClose(error: WhiprayError | undefined): void {
    this.#timer.cancel();
    if (this.#state === "greeting") {
      this.#rejectReady(
        error ??
          new WhiprayError({ code: "UNREACHABLE", message: "Closed before the handshake was done", retryable: true }),
      );
    }
    this.#state = "closed";
    const routes = [...this.#routes.values()];
    this.#routes.clear();
    for (const end of routes) {
      end.onClose(
        new WhiprayError({
          code: "LINK_BROKEN",
          message: error?.message ?? "The connection ended",
          retryable: true,
          cause: error,
        }),
      );
    }
    this.#options.events.onClose(this, error);
    this.#resolveGone();
  }
}

export function encodeError(error: unknown): Uint8Array {
  const wire = errorToWire(error);
  try {
    return encodeControl(wire);
  } catch {
    // Details that cannot cross the wire must not hide the error itself.
    return encodeControl({ name: wire.name, code: wire.code, message: wire.message, stack: wire.stack });
  }
}

/** The error of a CLOSE, ERROR or REFUSE frame; undefined when its body is empty. */
export function readError(raw: Uint8Array): WhiprayError | undefined {
  if (raw.length === PREFIX_BYTES) return undefined;
  const { body } = parseFrame(raw);
  return body.length === 0 ? undefined : decodeError(body);
}

export function decodeError(body: Uint8Array): WhiprayError {
  return errorFromWire(decodeControl(body) as ErrorWire);
}
