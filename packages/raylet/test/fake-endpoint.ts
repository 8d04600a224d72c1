import { asWhiprayError, WhiprayError } from "@whipray/core";
import type { CallHandler, CallOptions, Endpoint, IncomingCall, Method, Peer, Role, Target } from "@whipray/rpc";

type Handler = (request: unknown, call: IncomingCall) => unknown;

/** Processes that find each other by address. Control calls only; requests and replies are checked as on the wire. */
export class FakeNetwork {
  readonly endpoints = new Map<string, FakeEndpoint>();
  /** Addresses that cannot be reached now: calls to them fail as `UNREACHABLE`. */
  readonly down = new Set<string>();
  #incarnations = 0;

  endpoint(address: string, role: Role): FakeEndpoint {
    const incarnation = `inc_${++this.#incarnations}`;
    const endpoint = new FakeEndpoint(this, address, incarnation, role);
    this.endpoints.set(address, endpoint);
    return endpoint;
  }
}

export class FakeEndpoint implements Endpoint {
  readonly address: string;
  readonly incarnation: string;
  readonly role: Role;
  readonly network: FakeNetwork;
  readonly handlers = new Map<string, Handler>();
  readonly peers = new Map<string, FakePeer>();
  readonly #peerListeners: ((peer: Peer) => void)[] = [];

  constructor(network: FakeNetwork, address: string, incarnation: string, role: Role) {
    this.network = network;
    this.address = address;
    this.incarnation = incarnation;
    this.role = role;
  }

  serve<Request, Reply>(
    method: Method<Request, Reply>,
    handler: (request: Request, call: IncomingCall) => Reply | Promise<Reply>,
  ): void {
    this.handlers.set(method.name, handler as Handler);
  }

  onCall(_handler: CallHandler): void {}

  /** Streams are not carried: their methods are known, and never called. */
  serveRaw(): void {}

  async reachable(): Promise<void> {}

  onPeer(listener: (peer: Peer) => void): void {
    this.#peerListeners.push(listener);
  }

  connect(target: Target): FakePeer {
    const key = `${target.purpose} ${target.to}`;
    const known = this.peers.get(key);
    if (known && !known.closed) return known;
    const peer = new FakePeer(this, target.to);
    this.peers.set(key, peer);
    return peer;
  }

  /** The other end of a session that `from` opened. */
  accepted(from: FakePeer): FakePeer {
    const key = `accepted ${from.owner.address} ${from.owner.incarnation}`;
    const known = this.peers.get(key);
    if (known && !known.closed) return known;
    const peer = new FakePeer(this, from.owner.address, from);
    from.other = peer;
    this.peers.set(key, peer);
    for (const listener of this.#peerListeners) listener(peer);
    return peer;
  }

  async close(): Promise<void> {
    this.network.endpoints.delete(this.address);
    for (const peer of this.peers.values()) peer.close();
  }
}

export class FakePeer implements Peer {
  readonly address: string;
  readonly owner: FakeEndpoint;
  closed = false;
  other: FakePeer | undefined;
  /** Of the calls that came in. */
  abort: AbortController | undefined;
  readonly #closeListeners: ((error: WhiprayError) => void)[] = [];
  readonly #resetListeners: (() => void)[] = [];
  #fail = Promise.withResolvers<never>();

  constructor(owner: FakeEndpoint, address: string, other?: FakePeer) {
    this.owner = owner;
    this.address = address;
    this.other = other;
    this.#fail.promise.catch(() => {});
  }

  get #target(): FakeEndpoint | undefined {
    const { network } = this.owner;
    return network.down.has(this.address) || network.down.has(this.owner.address)
      ? undefined
      : network.endpoints.get(this.address);
  }

  get role(): Role {
    return this.#target?.role ?? "worker";
  }

  get incarnation(): string {
    return this.#target?.incarnation ?? "";
  }

  get hasRoute(): boolean {
    return !this.closed && this.#target !== undefined;
  }

  async invoke<Request, Reply>(
    method: Method<Request, Reply>,
    request: Request,
    options?: CallOptions,
  ): Promise<Reply> {
    const target = this.#target;
    const handler = target?.handlers.get(method.name);
    if (this.closed || !target) throw unreachable(this.address);
    if (!handler)
      throw new WhiprayError({ code: "METHOD_NOT_FOUND", message: `${this.address} has no ${method.name}` });
    const theirs = this.other ?? target.accepted(this);
    theirs.abort ??= new AbortController();
    const ended = theirs.abort.signal;
    const signal = options?.signal ? AbortSignal.any([ended, options.signal]) : ended;
    const onAbort = (listener: (reason: unknown) => void): void => {
      signal.addEventListener("abort", () => listener(signal.reason));
    };
    const call = { method: method.name, peer: theirs, signal, onAbort } as unknown as IncomingCall;
    const checked = method.request(structuredClone(request), method.name);
    const answered = Promise.resolve()
      .then(() => handler(checked, call))
      .then((reply) => method.reply(structuredClone(reply), `${method.name} reply`));
    return Promise.race([answered, this.#fail.promise]);
  }

  tell<Request>(method: Method<Request, unknown>, request: Request): void {
    this.invoke(method, request).catch(() => {});
  }

  onClose(listener: (error: WhiprayError) => void): void {
    this.#closeListeners.push(listener);
  }

  onLost(): () => void {
    return () => {};
  }

  onReset(listener: () => void): void {
    this.#resetListeners.push(listener);
  }

  /** As if the other side had come back as a new incarnation. */
  reset(): void {
    for (const listener of this.#resetListeners) listener();
  }

  close(error: unknown = unreachable(this.address)): void {
    if (this.closed) return;
    this.closed = true;
    const reason = asWhiprayError(error);
    this.#fail.reject(reason);
    this.abort?.abort(reason);
    for (const listener of this.#closeListeners) listener(reason);
    this.other?.close(reason);
  }

  call = notHere;
  submit = notHere;
  cancel = notHere;
  stream = notHere;
  notify = notHere;
}

function notHere(): never {
  throw new Error("the fake endpoint carries control calls only");
}

function unreachable(address: string): WhiprayError {
  return new WhiprayError({ code: "UNREACHABLE", message: `${address} cannot be reached`, retryable: true });
}
