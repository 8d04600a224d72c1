import type { WhiprayError } from "@whipray/core";
import type { Method } from "./fields.ts";

/** Who a process is; each role has its own token (design.md, mechanism 15). */
export const ROLES = ["head", "raylet", "driver", "worker", "engine"] as const;
export type Role = (typeof ROLES)[number];

/** What a connection is for: small control calls, everything else, or beats. */
export const PURPOSES = ["control", "data", "beat"] as const;
export type Purpose = (typeof PURPOSES)[number];

/** The parts of a message: part 0 is msgpack, the others are raw bytes of tensors (PROTOCOL.md, "Parts"). */
export type Parts = readonly Uint8Array[];

/** Options of one call, from the caller's side. */
export interface CallOptions {
  /** Aborting cancels on the wire; the call then ends with what the callee says, usually `CANCELLED`. */
  signal?: AbortSignal | undefined;
  /** The call in whose service this one is made: its cancel, its deadline and the end of its caller cancel this one too. Or who else may cancel it. */
  parent?: CallCanceller | undefined;
  /** Deadline; none by default: a training step may take hours. Ends with `DEADLINE_EXCEEDED`. */
  timeoutMs?: number | undefined;
  /** Epoch of the actor or lease that is meant; another one is refused with `STALE_EPOCH`. */
  epoch?: number | undefined;
  /** W3C trace context. */
  traceparent?: string | undefined;
}

/** Who may cancel a call that is under way. */
export interface CallCanceller {
  /** It did already. */
  readonly abortedWith: WhiprayError | undefined;
  /** Calls `listener` when it does. Returns the undo. */
  onAbort(listener: (reason: WhiprayError) => void): () => void;
}

/** Whether a cancel for this reason leaves the calls alone that the cancelled one made (Ray: `recursive=False`). */
export function sparesChildren(reason: WhiprayError): boolean {
  return reason.details["recursive"] === false;
}

/** A call as its callee sees it. Exactly one of reply, fail or end finishes it; later ones do nothing. */
export interface IncomingCall extends CallCanceller {
  readonly method: string;
  readonly parts: Parts;
  readonly epoch: number | undefined;
  readonly traceparent: string | undefined;
  /** The caller reads items (`stream`); a plain reply is fine too and ends the stream with that value. */
  readonly wantsStream: boolean;
  /** A oneway call: reply and fail do nothing. */
  readonly oneway: boolean;
  readonly peer: Peer;
  /** Aborted by a cancel, the deadline, or the end of the caller's session; the reason is a WhiprayError. */
  readonly signal: AbortSignal;
  /** The reason of `signal`, without making one. */
  readonly abortedWith: WhiprayError | undefined;
  /** As the event of `signal`, without making one. Returns the undo. */
  onAbort(listener: (reason: WhiprayError) => void): () => void;
  reply(parts: Parts): void;
  fail(error: unknown): void;
  /** Sends one item; resolves when the caller's demand and the route's credit allow the next. Rejects when the call was aborted. */
  item(parts: Parts): Promise<void>;
  /** Ends a stream, with a return value if there is one. */
  end(parts?: Parts): void;
}

/** Handles calls that no `serve` took. Called in the order of the caller's sequences; must not throw synchronously on purpose. */
export type CallHandler = (call: IncomingCall) => void;

/** A stream of items as its caller reads it. `return()` (a `break`) cancels the producer. */
export type ItemStream = AsyncIterableIterator<Parts>;

/** Who waits for one reply. Exactly one of the two is called, once, perhaps before `submit` returns. */
export interface ReplySink {
  resolve(parts: Parts): void;
  reject(error: WhiprayError): void;
}

/** Another process, over a session that outlives its connections. */
export interface Peer {
  readonly address: string;
  readonly role: Role;
  /** Incarnation of the other process; empty until the first route is open. */
  readonly incarnation: string;
  readonly closed: boolean;
  /** Whether a route to it is open now. Without one the session waits for it to come back, up to the resume time. */
  readonly hasRoute: boolean;
  /** One reply. Sent at most once (PROTOCOL.md, "Sessions"). */
  call(method: string, parts: Parts, options?: CallOptions): Promise<Parts>;
  /** As `call`, for who makes very many: nothing is allocated for a promise. Its number, for `cancel`. */
  submit(method: string, parts: Parts, options: CallOptions, sink: ReplySink): number;
  /** Cancels the call with this number as its `signal` would; one that has ended is left alone. */
  cancel(sequence: number, reason: WhiprayError): void;
  /** Many items. */
  stream(method: string, parts: Parts, options?: CallOptions): ItemStream;
  /** No reply, no record: for what may be lost. */
  notify(method: string, parts: Parts, options?: CallOptions): void;
  /** A control call, encoded and checked on both sides. */
  invoke<Request, Reply>(method: Method<Request, Reply>, request: Request, options?: CallOptions): Promise<Reply>;
  /** A control oneway. */
  tell<Request>(method: Method<Request, unknown>, request: Request): void;
  /** Called each time its route ends while the session goes on: the other process may have died, or the way to it. Returns the undo. */
  onLost(listener: () => void): () => void;
  /** Called once when the session ends, with why. */
  onClose(listener: (error: WhiprayError) => void): void;
  /**
   * Called each time the other side turns out to be a new incarnation, or to have lost this session: calls that were
   * sent have ended with `OUTCOME_UNKNOWN`, the peer goes on. For who must register again (a raylet, a driver at the head).
   */
  onReset(listener: () => void): void;
  /** Ends the session; the other side is told (CLOSE with the error). */
  close(error?: WhiprayError): void;
}

/** How to reach another process. */
export interface Target {
  /** `node/process`. */
  to: string;
  /**
   * URL of its home, or of its own socket when it is on this machine; `accepted:node/process` for one that dialled us (an
   * engine), whose session ends with its link.
   */
  url: string;
  purpose: Purpose;
  /**
   * The process may come back under this address (head, raylet): the peer keeps trying, and `onReset` tells of a new
   * incarnation. Default false: a refused dial, or another incarnation, ends the peer.
   */
  restarts?: boolean;
  /**
   * Token of a door that an engine on this machine holds open for us (PROTOCOL.md, "Doors"): it lets us in once. Who is behind it may only answer, is
   * not watched, and the session ends with its link.
   */
  door?: string | undefined;
}

/** This process on the wire. */
export interface Endpoint {
  readonly address: string;
  readonly incarnation: string;
  /** Handles one control method. The request is checked before, the reply is encoded after. */
  serve<Request, Reply>(
    method: Method<Request, Reply>,
    handler: (request: Request, call: IncomingCall) => Reply | Promise<Reply>,
  ): void;
  /** As `serve`, but the handler answers the call itself, with parts that are no control message. */
  serveRaw<Request>(method: Method<Request, unknown>, handler: (request: Request, call: IncomingCall) => void): void;
  /** Handles every call that no `serve` took; without it they fail with `METHOD_NOT_FOUND`. */
  onCall(handler: CallHandler): void;
  /** A session that another process opened to us (once a session, not on every reconnect). */
  onPeer(listener: (peer: Peer) => void): void;
  /** Dials when needed and opens a route; reconnects by itself within the resume time. The same target gives the same peer. */
  connect(target: Target): Peer;
  /** Whether a link to `url` can be had within `timeoutMs`. @throws what dialling or the handshake threw. */
  reachable(url: string, purpose: Purpose, timeoutMs: number): Promise<void>;
  /** Ends everything: peers get GOODBYE. */
  close(): Promise<void>;
}
