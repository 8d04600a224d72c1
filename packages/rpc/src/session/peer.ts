import { asWhiprayError, type Clock, type Logger, OutcomeUnknownError, type Timer, WhiprayError } from "@whipray/core";
import type { CallOptions, ItemStream, Parts, Peer, ReplySink, Role } from "../call.ts";
import { decodeControl, encodeControl } from "../codec.ts";
import type { Method } from "../fields.ts";
import { FLAG, type Frame, KIND, parseFrame } from "../frame.ts";
import { SESSION_RESUME_MS, UNKNOWN_FRAMES_LIMIT } from "../limits.ts";
import type { RouteEnd } from "../link/link.ts";
import type { Route } from "../link/route.ts";
import { Assembler, type BrokenOff } from "./assembler.ts";
import type { SessionCall } from "./incoming-call.ts";
import { IncomingCalls } from "./incoming-calls.ts";
import {
  checkOneway,
  decodeCallHeader,
  decodePartsHeader,
  encodeCallHeader,
  inlineParts,
  type PartsHeader,
  sendMessage,
} from "./message.ts";
import { OutgoingCalls } from "./outgoing-calls.ts";

/** What a session tells its endpoint. */
export interface PeerEvents {
  dispatch(call: SessionCall): void;
  /** The route is gone; an opener finds a new one. */
  onRouteLost(peer: SessionPeer, error: WhiprayError | undefined): void;
  onEnded(peer: SessionPeer): void;
}

/** Codes of a CLOSE after which the other process will not be there again under this incarnation. */
const FINAL_CODES: ReadonlySet<string> = new Set([
  "ACTOR_DIED",
  "NODE_DIED",
  "WORKER_CRASHED",
  "GOODBYE",
  "FORBIDDEN",
  "STALE_EPOCH",
  "NO_ROUTE",
  "OWNER_DIED",
]);

/** A session with another process; it outlives its routes (PROTOCOL.md, "Sessions"). */
export class SessionPeer implements Peer {
  readonly sessionId: string;
  readonly address: string;
  role: Role;
  incarnation = "";
  closed = false;
  readonly outgoing: OutgoingCalls;
  readonly incoming: IncomingCalls;
  /** False: the end of the route ends the session (engines). */
  readonly resumable: boolean;
  /** The other process may come back as a new incarnation: its goodbye is not the end. */
  readonly restarts: boolean;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #events: PeerEvents;
  readonly #closeListeners: ((error: WhiprayError) => void)[] = [];
  readonly #resetListeners: (() => void)[] = [];
  readonly #lostListeners = new Set<() => void>();
  #route: Route | undefined;
  #assembler = new Assembler();
  #resumeTimer: Timer | undefined;
  #unknownFrames = 0;
  #endedWith: WhiprayError | undefined;

  constructor(init: {
    sessionId: string;
    address: string;
    role: Role;
    resumable: boolean;
    restarts: boolean;
    clock: Clock;
    logger: Logger;
    events: PeerEvents;
  }) {
    this.sessionId = init.sessionId;
    this.address = init.address;
    this.role = init.role;
    this.resumable = init.resumable;
    this.restarts = init.restarts;
    this.#clock = init.clock;
    this.#logger = init.logger;
    this.#events = init.events;
    this.outgoing = new OutgoingCalls(init.clock);
    this.incoming = new IncomingCalls(init.clock, this, (call) => this.#events.dispatch(call));
    this.#awaitRoute();
  }

  call(method: string, parts: Parts, options: CallOptions = {}): Promise<Parts> {
    return this.#endedWith ? Promise.reject(this.#endedWith) : this.outgoing.call(method, parts, options);
  }

  submit(method: string, parts: Parts, options: CallOptions, sink: ReplySink): number {
    if (!this.#endedWith) return this.outgoing.submit(method, parts, options, sink);
    sink.reject(this.#endedWith);
    return 0;
  }

  cancel(sequence: number, reason: WhiprayError): void {
    this.outgoing.cancel(sequence, reason);
  }

  stream(method: string, parts: Parts, options: CallOptions = {}): ItemStream {
    const stream = this.outgoing.stream(method, parts, options);
    if (this.#endedWith) this.outgoing.end(this.#endedWith, this.#endedWith);
    return stream;
  }

  notify(method: string, parts: Parts, options: CallOptions = {}): void {
    checkOneway(parts);
    if (!this.#route) return;
    sendMessage(this.#route, KIND.ONEWAY, 0, 0, parts, (of) =>
      encodeCallHeader({ m: method, ...(options.epoch !== undefined && { e: options.epoch }), ...of }),
    );
  }

  async invoke<Request, Reply>(
    method: Method<Request, Reply>,
    request: Request,
    options: CallOptions = {},
  ): Promise<Reply> {
    const reply = await this.call(method.name, [encodeControl(request)], options);
    return method.reply(decodeControl(reply[0] ?? new Uint8Array(0)), `${method.name} reply`);
  }

  tell<Request>(method: Method<Request, unknown>, request: Request): void {
    this.notify(method.name, [encodeControl(request)]);
  }

  onClose(listener: (error: WhiprayError) => void): void {
    if (this.#endedWith) listener(this.#endedWith);
    else this.#closeListeners.push(listener);
  }

  onLost(listener: () => void): () => void {
    this.#lostListeners.add(listener);
    return () => this.#lostListeners.delete(listener);
  }

  onReset(listener: () => void): void {
    this.#resetListeners.push(listener);
  }

  close(error?: WhiprayError): void {
    const route = this.#route;
    const reason = error ?? new WhiprayError({ code: "GOODBYE", message: `${this.address}: the session was closed` });
    route?.link.closeRoute(route.id, reason);
    this.end(reason);
  }

  /** For the OPEN or OPENED that offers this session. */
  resumeState(): { rx: number; streams: [number, number][] } & BrokenOff {
    return { rx: this.incoming.rx, streams: this.outgoing.openStreams(), ...this.#assembler.partials() };
  }

  get hasRoute(): boolean {
    return this.#route !== undefined;
  }

  /**
   * A route is open. `known`: the other side has this session's record, received our calls up to `rx`, and of others what `has` tells.
   * Otherwise calls that went out are lost, and its own calls start anew.
   */
  attach(
    route: Route,
    incarnation: string,
    known: boolean,
    rx: number,
    streams: readonly (readonly [number, number])[],
    has: BrokenOff,
  ): void {
    const reset = this.incarnation !== "" && (!known || incarnation !== this.incarnation);
    if (this.#route) this.#route.link.closeRoute(this.#route.id);
    this.#route = route;
    if (reset) this.#assembler = new Assembler();
    else this.#assembler.suspend();
    this.#resumeTimer?.cancel();
    this.incarnation = incarnation;
    this.incoming.attach(route, !reset, streams, new Map(has.answers));
    this.outgoing.attach(route, !reset, rx, new Map(has.calls));
    if (reset) for (const listener of this.#resetListeners) listener();
  }

  /** The end that a link calls for this session's route. */
  routeEnd(route: Route): RouteEnd {
    return {
      onFrame: (raw) => {
        if (route !== this.#route) return;
        try {
          this.#handle(route, parseFrame(raw));
          route.took(raw);
        } catch (error) {
          // Bad bytes end the link that brought them (reliability P13), and with it this route; nothing is half-applied.
          route.link.destroy(asWhiprayError(error, "FRAME_INVALID"));
        }
      },
      onClose: (error) => {
        if (route === this.#route) this.#routeLost(error);
      },
    };
  }

  #handle(route: Route, frame: Frame): void {
    switch (frame.kind) {
      case KIND.REQUEST: {
        forbidEngine(route);
        const header = decodeCallHeader(frame.header);
        if (isWhole(frame)) this.incoming.request(frame, header, inlineParts(frame.body, header.p));
        else this.#gather(frame, header, this.incoming.arrive(frame, header));
        return;
      }
      case KIND.ONEWAY: {
        forbidEngine(route);
        const header = decodeCallHeader(frame.header);
        this.incoming.oneway(header, inlineParts(frame.body, header.p));
        return;
      }
      case KIND.REPLY: {
        const header = decodePartsHeader(frame.header);
        if (isWhole(frame)) this.outgoing.onReply(frame.sequence, inlineParts(frame.body, header.p), frame.body.length);
        else this.#gather(frame, header, (parts, bytes) => this.outgoing.onReply(frame.sequence, parts, bytes));
        return;
      }
      case KIND.ERROR:
        this.#assembler.forget(frame.sequence);
        this.outgoing.onError(frame);
        return;
      case KIND.ITEM: {
        const header = decodePartsHeader(frame.header);
        const { i = 0 } = header;
        this.#gather(frame, header, (parts) => this.outgoing.onItem(frame.sequence, i, parts));
        return;
      }
      case KIND.END:
        this.#gather(frame, decodePartsHeader(frame.header), (parts, bytes) =>
          this.outgoing.onEnd(frame.sequence, parts, bytes),
        );
        return;
      case KIND.CHUNK:
        this.#assembler.chunk(frame);
        return;
      case KIND.CANCEL:
        this.incoming.cancel(frame.sequence, (frame.flags & FLAG.SPARES_CHILDREN) !== 0);
        return;
      case KIND.CREDIT:
        route.credit(readCount(frame));
        return;
      case KIND.DEMAND:
        this.incoming.demand(frame.sequence, frame.body);
        return;
      case KIND.ACK:
        readCount(frame);
        this.incoming.acknowledge(frame.body);
        return;
      default:
        if (++this.#unknownFrames < UNKNOWN_FRAMES_LIMIT) return;
        throw new WhiprayError({
          code: "UNKNOWN_MESSAGE",
          message: `${UNKNOWN_FRAMES_LIMIT} frames of unknown kinds, the last ${frame.kind}`,
        });
    }
  }

  #gather(frame: Frame, { p: lengths, at = 0 }: PartsHeader, done: (parts: Parts, bytes: number) => void): void {
    if (isWhole(frame)) {
      done(inlineParts(frame.body, lengths), frame.body.length);
      return;
    }
    const bytes = lengths?.reduce((sum, length) => sum + length, 0) ?? 0;
    this.#assembler.begin(frame, lengths, at, (parts) => done(parts, bytes));
  }

  /** The route ended, by the other side or with its link. */
  #routeLost(error: WhiprayError | undefined): void {
    this.#route = undefined;
    this.outgoing.detach();
    this.incoming.detach();
    if (this.closed) return;
    const final = error !== undefined && FINAL_CODES.has(error.code) && !(this.restarts && error.code === "GOODBYE");
    if (!this.resumable || final) {
      this.end(error ?? new WhiprayError({ code: "GOODBYE", message: `${this.address} closed the session` }));
      return;
    }
    this.#awaitRoute(error);
    this.#events.onRouteLost(this, error);
    for (const listener of [...this.#lostListeners]) listener();
  }

  // Nobody waits for ever: without a route for the resume time the session is over.
  #awaitRoute(cause?: WhiprayError): void {
    this.#resumeTimer?.cancel();
    this.#resumeTimer = this.#clock.after(SESSION_RESUME_MS, () => {
      this.end(
        new WhiprayError({
          code: "UNREACHABLE",
          message: `${this.address} could not be reached for ${SESSION_RESUME_MS} ms${cause ? `: ${cause.message}` : ""}`,
          retryable: true,
          cause,
        }),
      );
    });
  }

  /** Ends the session: pending calls fail, running calls are aborted. */
  end(error: WhiprayError): void {
    if (this.closed) return;
    this.closed = true;
    this.#endedWith = error;
    this.#resumeTimer?.cancel();
    this.#route = undefined;
    this.outgoing.end(sentError(this.address, error), error);
    this.incoming.end(error);
    this.#events.onEnded(this);
    for (const listener of this.#closeListeners) {
      try {
        listener(error);
      } catch (thrown) {
        this.#logger.error("a close listener threw", { address: this.address, error: String(thrown) });
      }
    }
  }
}

// A coded death tells what happened; anything else leaves the outcome of a call that went out open.
function sentError(address: string, error: WhiprayError): WhiprayError {
  if (FINAL_CODES.has(error.code) && error.code !== "NO_ROUTE" && error.code !== "GOODBYE") return error;
  return new OutcomeUnknownError({
    message: `The call was sent to ${address}, whose session then ended (${error.message}): it may or may not have run`,
    cause: error,
  });
}

/** User code runs in engines: whoever dialled one, or was dialled by one, takes answers from it and nothing else. */
function forbidEngine({ link }: Route): void {
  if (link.identity.role === "engine")
    throw new WhiprayError({ code: "FORBIDDEN", message: "An engine may only answer calls" });
}

function isWhole(frame: Frame): boolean {
  return (frame.flags & FLAG.CHUNKED) === 0;
}

function readCount(frame: Frame): number {
  if (frame.body.length < 4)
    throw new WhiprayError({ code: "FRAME_SIZE", message: `A frame of kind ${frame.kind} needs a count of 4 bytes` });
  return new DataView(frame.body.buffer, frame.body.byteOffset, 4).getUint32(0, true);
}
