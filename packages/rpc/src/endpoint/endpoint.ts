import {
  AuthenticationError,
  asWhiprayError,
  backoffMs,
  type Clock,
  type IdSource,
  type Logger,
  type RandomSource,
  WhiprayError,
} from "@whipray/core";
import type { CallHandler, Endpoint, IncomingCall, Peer, Purpose, Role, Target } from "../call.ts";
import type { Method } from "../fields.ts";
import { KIND, parseFrame } from "../frame.ts";
import { forward } from "../link/forwarder.ts";
import type { Hello, Introduction, LinkIdentity } from "../link/handshake.ts";
import type { Link, RouteEnd } from "../link/link.ts";
import { Route } from "../link/route.ts";
import type { BrokenOff } from "../session/assembler.ts";
import { Dispatcher } from "../session/dispatcher.ts";
import { SessionPeer } from "../session/peer.ts";
import type { Channel, Transport } from "../transport.ts";
import { LinkPool } from "./link-pool.ts";
import { decodeOpen, decodeOpened, encodeOpen, encodeOpened, type Open } from "./open.ts";

/** Waits between tries to reach a process again. */
const RECONNECT = { firstMs: 20, factor: 2, maxMs: 1_000, jitter: 0.5 };
/** The same after a loss that comes out of the blue: its raylet reaps a dead process within milliseconds, and then says so. */
const HURRIED = { ...RECONNECT, firstMs: 2 };

export interface EndpointOptions {
  address: string;
  role: Role;
  /** This process' own token for its role; it says it in every HELLO. */
  token: string;
  /** Default: a new one. */
  incarnation?: string | undefined;
  cluster?: string | undefined;
  pid?: number | undefined;
  clock: Clock;
  ids: IdSource;
  random: RandomSource;
  logger: Logger;
  /** How links are dialled. */
  transport: Transport;
  /** Whether a HELLO may come in. Throws a coded refusal; without it nobody may. */
  admit?: (hello: Hello, channel: Channel) => void | Promise<void>;
  /** A link was dialled to us and let in. */
  onLink?: (identity: LinkIdentity) => void;
  /** Such a link ended. */
  onLinkLost?: (identity: LinkIdentity) => void;
  /**
   * Where an OPEN for another process goes on: an URL to dial, or the address of a process that dialled us. Throws the
   * coded reason why it cannot (what became of the process); undefined is `NO_ROUTE`.
   */
  route?: (to: string, from: { role: Role; address: string }) => RouteVia | undefined | Promise<RouteVia | undefined>;
}
export type RouteVia = { url: string } | { accepted: string };

/** URL scheme of a target that dialled us: `accepted:node/process`. Its session does not resume. */
const ACCEPTED = "accepted:";

/** This process on the wire: its links, its sessions, and the routes that it forwards. */
export class WireEndpoint implements Endpoint {
  readonly address: string;
  readonly incarnation: string;
  readonly #options: EndpointOptions;
  readonly #links: LinkPool;
  readonly #dispatcher: Dispatcher;
  readonly #sessions = new Map<string, SessionPeer>();
  readonly #targets = new Map<string, SessionPeer>();
  /** When a lost session was last dialled in a hurry. */
  readonly #hurried = new WeakMap<SessionPeer, number>();
  readonly #peerListeners: ((peer: Peer) => void)[] = [];
  #closed = false;

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.address = options.address;
    this.incarnation = options.incarnation ?? options.ids.next("inc");
    this.#dispatcher = new Dispatcher(options.logger);
    const { address, role, token, cluster, pid, clock, logger, transport, admit } = options;
    const self: Introduction = { address, incarnation: this.incarnation, role, token, cluster, pid };
    this.#links = new LinkPool({
      self,
      transport,
      clock,
      logger,
      events: {
        onOpen: (link, route, header) => void this.#onOpen(link, route, header),
        onClose: () => {},
        admit: admit ?? refuseAll,
      },
      onAccepted: options.onLink,
      onLost: options.onLinkLost,
    });
  }

  serve<Request, Reply>(
    method: Method<Request, Reply>,
    handler: (request: Request, call: IncomingCall) => Reply | Promise<Reply>,
  ): void {
    this.#dispatcher.serve(method, handler);
  }

  serveRaw<Request>(method: Method<Request, unknown>, handler: (request: Request, call: IncomingCall) => void): void {
    this.#dispatcher.serveRaw(method, handler);
  }

  onCall(handler: CallHandler): void {
    this.#dispatcher.onCall(handler);
  }

  onPeer(listener: (peer: Peer) => void): void {
    this.#peerListeners.push(listener);
  }

  /** Takes on a connection of a listener. */
  accept(channel: Channel): void {
    if (this.#closed) channel.destroy();
    else this.#links.accept(channel);
  }

  connect(target: Target): Peer {
    const key = `${target.purpose} ${target.to} ${target.url}`;
    const known = this.#targets.get(key);
    if (known && !known.closed) return known;
    const role = target.to.startsWith("head/") ? "head" : target.to.endsWith("/raylet") ? "raylet" : "worker";
    const resumable = !target.url.startsWith(ACCEPTED) && target.door === undefined;
    const peer = this.#newPeer(
      this.#options.ids.next("call"),
      target.to,
      role,
      { resumable, restarts: target.restarts ?? false },
      (lost, error) => void this.#reach(lost, target, error),
    );
    this.#targets.set(key, peer);
    if (this.#closed) peer.end(closedError());
    else void this.#reach(peer, target);
    return peer;
  }

  async reachable(url: string, purpose: Purpose, timeoutMs: number): Promise<void> {
    const late = new Promise<never>((_, reject) => {
      this.#options.clock.after(timeoutMs, () => {
        reject(
          new WhiprayError({
            code: "TIMEOUT",
            message: `${url} did not answer within ${timeoutMs} ms`,
            retryable: true,
          }),
        );
      });
    });
    await Promise.race([this.#links.dial(url, purpose), late]);
  }

  #newPeer(
    sessionId: string,
    address: string,
    role: Role,
    lifetime: { resumable: boolean; restarts: boolean },
    onRouteLost: (peer: SessionPeer, error: WhiprayError | undefined) => void,
  ): SessionPeer {
    const { clock, logger } = this.#options;
    const peer = new SessionPeer({
      sessionId,
      address,
      role,
      ...lifetime,
      clock,
      logger,
      events: {
        dispatch: (call) => this.#dispatcher.dispatch(call),
        onRouteLost,
        onEnded: (ended) => {
          if (this.#sessions.get(ended.sessionId) === ended) this.#sessions.delete(ended.sessionId);
          for (const [key, known] of this.#targets) if (known === ended) this.#targets.delete(key);
        },
      },
    });
    this.#sessions.set(sessionId, peer);
    return peer;
  }

  // The opener's side: dial, OPEN, wait for OPENED, attach; again after a pause until the session gives up.
  async #reach(peer: SessionPeer, target: Target, lost?: WhiprayError): Promise<void> {
    const { clock, random } = this.#options;
    const hurries = lost !== undefined && this.#hurries(peer, target);
    const waits = hurries ? HURRIED : RECONNECT;
    // The socket of a process on this machine ends with it: the dial says at once whether it lives.
    const atOnce = lost === undefined || (hurries && target.url.startsWith("unix:"));
    for (let attempt = atOnce ? 0 : 1; !peer.closed && !this.#closed; attempt++) {
      if (attempt > 0)
        await new Promise<void>((resolve) =>
          clock.after(backoffMs(waits, attempt, random), resolve, { keepAlive: true }),
        );
      // The link that ended is forgotten once all of its routes know.
      else if (lost) await undefined;
      if (peer.closed) return;
      try {
        const link = await this.#link(target);
        await this.#open(link, peer, target);
        return;
      } catch (error) {
        const failure = asWhiprayError(error);
        // Inside a machine a process that cannot be dialled is gone, and one that dialled us does not come back.
        const local = target.url.startsWith("unix:") || target.url.startsWith(ACCEPTED);
        const gone = !target.restarts && local && failure.code === "UNREACHABLE";
        // A door lets in once.
        const shut = target.door !== undefined;
        // Whom we knew may come back; a stranger on its port is told nothing meanwhile.
        const stranger = failure.code.startsWith("TLS_") && peer.incarnation === "";
        if (gone || shut || stranger || isRefusal(failure)) peer.end(failure);
      }
    }
  }

  /** A process that is lost has died, most likely: who is asked first tells, and its callers need not wait. Once in a while only. */
  #hurries(peer: SessionPeer, target: Target): boolean {
    const nowMs = this.#options.clock.now();
    if (target.restarts || nowMs - (this.#hurried.get(peer) ?? Number.NEGATIVE_INFINITY) < RECONNECT.maxMs)
      return false;
    this.#hurried.set(peer, nowMs);
    return true;
  }

  async #link(target: Target): Promise<Link> {
    if (!target.url.startsWith(ACCEPTED)) return this.#links.dial(target.url, target.purpose, target.door);
    const link = this.#links.accepted(target.url.slice(ACCEPTED.length), target.purpose);
    if (!link)
      throw new WhiprayError({ code: "UNREACHABLE", message: `${target.to} has no connection here`, retryable: true });
    return link;
  }

  #open(link: Link, peer: SessionPeer, target: Target): Promise<void> {
    const { rx, streams, calls, answers } = peer.resumeState();
    const header = encodeOpen({
      to: target.to,
      from: this.address,
      inc: this.incarnation,
      role: this.#options.role,
      session: peer.sessionId,
      ...{ rx, streams, calls, answers },
      purpose: target.purpose,
    });
    return new Promise((resolve, reject) => {
      let end: RouteEnd | undefined;
      const id = link.open(
        {
          onFrame: (raw) => {
            if (end) {
              end.onFrame(raw);
              return;
            }
            try {
              const frame = parseFrame(raw);
              if (frame.kind !== KIND.OPENED)
                throw new WhiprayError({ code: "WRONG_PROTOCOL", message: "OPEN was not answered by OPENED" });
              const opened = decodeOpened(frame.header);
              const restarted = peer.incarnation !== "" && (opened.fresh || opened.inc !== peer.incarnation);
              if (restarted && !target.restarts)
                throw new WhiprayError({ code: "NO_ROUTE", message: `${target.to} is another incarnation now` });
              const route = new Route(link, id);
              end = peer.routeEnd(route);
              peer.attach(route, opened.inc, !opened.fresh, opened.rx, opened.streams ?? [], brokenOff(opened));
              resolve();
            } catch (error) {
              link.closeRoute(id);
              reject(asWhiprayError(error));
            }
          },
          onClose: (error) => {
            if (end) end.onClose(error);
            else
              reject(
                error ??
                  new WhiprayError({
                    code: "UNREACHABLE",
                    message: `${target.to} closed the route before it was open`,
                    retryable: true,
                  }),
              );
          },
        },
        header,
      );
    });
  }

  async #onOpen(link: Link, routeId: number, header: Uint8Array): Promise<void> {
    try {
      const open = this.#trusted(link, decodeOpen(header));
      if (open.to === this.address) this.#acceptOpen(link, routeId, open);
      else await this.#forward(link, routeId, open);
    } catch (error) {
      link.refuseRoute(routeId, asWhiprayError(error));
    }
  }

  // Only daemons speak for others; from anybody else, role and address are what its own link proved.
  #trusted(link: Link, open: Open): Open {
    const { role, address, incarnation } = link.identity;
    if (role === "engine") throw new WhiprayError({ code: "FORBIDDEN", message: "An engine may only answer calls" });
    if (role === undefined || role === "raylet" || role === "head") return open;
    return { ...open, role, from: address, inc: incarnation };
  }

  #acceptOpen(link: Link, routeId: number, open: Open): void {
    let peer = this.#sessions.get(open.session);
    const fresh = peer === undefined || peer.closed || peer.incarnation !== open.inc || peer.address !== open.from;
    if (fresh) {
      peer?.end(
        new WhiprayError({
          code: "SESSION_REPLACED",
          message: `Session ${open.session} was opened anew by ${open.from}`,
        }),
      );
      this.#endOldIncarnations(open);
      peer = this.#newPeer(open.session, open.from, open.role, { resumable: true, restarts: false }, () => {});
    }
    const session = peer as SessionPeer;
    const { rx, streams, calls, answers } = session.resumeState();
    const route = new Route(link, routeId);
    link.adopt(routeId, session.routeEnd(route));
    route.sendFree(
      KIND.OPENED,
      0,
      encodeOpened({ inc: this.incarnation, rx, fresh, streams, calls, answers }),
      new Uint8Array(0),
    );
    session.attach(route, open.inc, !fresh, open.rx, open.streams ?? [], brokenOff(open));
    if (fresh) for (const listener of this.#peerListeners) listener(session);
  }

  #endOldIncarnations(open: Open): void {
    for (const peer of this.#sessions.values()) {
      if (peer.address === open.from && peer.incarnation !== "" && peer.incarnation !== open.inc) {
        // Not only here: should the other one be the living one after all, it must learn of it, and comes back.
        peer.close(new WhiprayError({ code: "PEER_RESTARTED", message: `${open.from} restarted`, retryable: true }));
      }
    }
  }

  async #forward(link: Link, routeId: number, open: Open): Promise<void> {
    const via = await this.#options.route?.(open.to, { role: open.role, address: open.from });
    if (!via)
      throw new WhiprayError({ code: "NO_ROUTE", message: `${this.address} knows no way to ${open.to.slice(0, 256)}` });
    const next =
      "url" in via ? await this.#links.dial(via.url, open.purpose) : this.#links.accepted(via.accepted, open.purpose);
    if (!next)
      throw new WhiprayError({
        code: "UNREACHABLE",
        message: `${open.to} has no connection here now`,
        retryable: true,
      });
    if (!link.closed) forward(link, routeId, next, encodeOpen(open));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const peer of [...this.#sessions.values()]) peer.close(closedError());
    await this.#links.close();
  }
}

function brokenOff({ calls = [], answers = [] }: Pick<Open, "calls" | "answers">): BrokenOff {
  return { calls, answers };
}

function closedError(): WhiprayError {
  return new WhiprayError({ code: "GOODBYE", message: "The process closed its endpoint" });
}

function refuseAll(): void {
  throw new AuthenticationError({ message: "This process takes no connections" });
}

// Answers that a later try would get again.
function isRefusal(error: WhiprayError): boolean {
  return [
    "UNAUTHENTICATED",
    "FORBIDDEN",
    "REFUSED",
    "VERSION",
    "WRONG_PROTOCOL",
    "NO_ROUTE",
    "INVALID_ADDRESS",
    "ACTOR_DIED",
    "NODE_DIED",
    "WORKER_CRASHED",
    "STALE_EPOCH",
  ].includes(error.code);
}
