import { type Clock, type Timer, WhiprayError } from "@whipray/core";
import type { CallOptions, Endpoint, IncomingCall, ItemStream, Method, Parts, Peer, Role, Target } from "@whipray/rpc";
import { SESSION_RESUME_MS } from "@whipray/rpc";

type Handler = (request: unknown, call: IncomingCall) => unknown;

/** Endpoints in one process: sessions, calls and deaths as `@whipray/rpc` promises them, without a byte. Values are checked and copied. */
export class FakeNet {
  readonly clock: Clock;
  readonly endpoints = new Map<string, FakeEndpoint>();
  /** Pairs of addresses between which nothing passes now. */
  readonly #cuts = new Set<string>();
  readonly #tails = new Map<string, Promise<void>>();
  #healed = Promise.withResolvers<void>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  endpoint(address: string, role: Role, incarnation: string): FakeEndpoint {
    const endpoint = new FakeEndpoint(this, address, role, incarnation);
    this.endpoints.set(address, endpoint);
    return endpoint;
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from} ${to}`);
  }

  heal(): void {
    this.#cuts.clear();
    this.#healed.resolve();
    this.#healed = Promise.withResolvers();
  }

  /** Resolves when a message from one to the other arrives, in the order of sending. */
  pass(from: string, to: string): Promise<void> {
    const way = `${from} ${to}`;
    const arrived = (this.#tails.get(way) ?? Promise.resolve()).then(async () => {
      while (this.#cuts.has(way)) await this.#healed.promise;
    });
    this.#tails.set(way, arrived);
    return arrived;
  }
}

export class FakeEndpoint implements Endpoint {
  readonly net: FakeNet;
  readonly address: string;
  readonly role: Role;
  readonly incarnation: string;
  readonly handlers = new Map<string, { method: Method<unknown, unknown>; handler: Handler }>();
  readonly peers = new Map<string, FakePeer>();
  alive = true;
  readonly #onPeer: ((peer: Peer) => void)[] = [];

  constructor(net: FakeNet, address: string, role: Role, incarnation: string) {
    this.net = net;
    this.address = address;
    this.role = role;
    this.incarnation = incarnation;
  }

  serve<Request, Reply>(
    method: Method<Request, Reply>,
    handler: (request: Request, call: IncomingCall) => Reply | Promise<Reply>,
  ): void {
    this.handlers.set(method.name, { method: method as Method<unknown, unknown>, handler: handler as Handler });
  }

  onCall(): void {}

  serveRaw(): void {}

  async reachable(): Promise<void> {}

  onPeer(listener: (peer: Peer) => void): void {
    this.#onPeer.push(listener);
  }

  connect(target: Pick<Target, "to">): FakePeer {
    const known = this.peers.get(target.to);
    if (known && !known.closed) return known;
    const other = this.net.endpoints.get(target.to);
    if (!other?.alive) throw new WhiprayError({ code: "UNREACHABLE", message: `no ${target.to}`, retryable: true });
    const peer = new FakePeer(this, other);
    const twin = new FakePeer(other, this);
    peer.twin = twin;
    twin.twin = peer;
    this.peers.set(other.address, peer);
    other.peers.set(this.address, twin);
    for (const listener of other.#onPeer) listener(twin);
    return peer;
  }

  /** Goodbye: the other sides know at once. */
  async close(): Promise<void> {
    this.alive = false;
    for (const peer of [...this.peers.values()])
      peer.close(new WhiprayError({ code: "GOODBYE", message: `${this.address} said goodbye` }));
  }

  /** SIGKILL: nothing answers any more; the other sides give the session up when it could not be resumed in time. */
  kill(): void {
    this.alive = false;
    for (const peer of [...this.peers.values()]) {
      peer.closed = true;
      this.net.clock.after(SESSION_RESUME_MS, () =>
        peer.twin.end(new WhiprayError({ code: "OUTCOME_UNKNOWN", message: `${this.address} did not come back` })),
      );
    }
  }
}

export class FakePeer implements Peer {
  readonly address: string;
  readonly role: Role;
  readonly incarnation: string;
  closed = false;
  twin!: FakePeer;
  readonly #own: FakeEndpoint;
  readonly #other: FakeEndpoint;
  readonly #onClose: ((error: WhiprayError) => void)[] = [];
  readonly #pending = new Set<(error: WhiprayError) => void>();

  constructor(own: FakeEndpoint, other: FakeEndpoint) {
    this.#own = own;
    this.#other = other;
    this.address = other.address;
    this.role = other.role;
    this.incarnation = other.incarnation;
  }

  get hasRoute(): boolean {
    return !this.closed && this.#own.alive && this.#other.alive;
  }

  async invoke<Request, Reply>(
    method: Method<Request, Reply>,
    request: Request,
    options: CallOptions = {},
  ): Promise<Reply> {
    if (this.closed || !this.#own.alive)
      throw new WhiprayError({ code: "UNREACHABLE", message: "the session is over", retryable: true });
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    const timer: Timer | undefined =
      options.timeoutMs === undefined
        ? undefined
        : this.#own.net.clock.after(options.timeoutMs, () =>
            reject(new WhiprayError({ code: "DEADLINE_EXCEEDED", message: `${method.name} took too long` })),
          );
    const fail = (error: WhiprayError): void => reject(error);
    this.#pending.add(fail);
    void this.#run(method, structuredClone(request)).then(resolve, reject);
    try {
      return await promise;
    } finally {
      timer?.cancel();
      this.#pending.delete(fail);
    }
  }

  async #run<Request, Reply>(method: Method<Request, Reply>, request: Request): Promise<Reply> {
    const { net, address } = this.#own;
    await net.pass(address, this.address);
    if (!this.#other.alive || this.closed) return new Promise<never>(() => undefined);
    const served = this.#other.handlers.get(method.name);
    if (!served) throw new WhiprayError({ code: "METHOD_NOT_FOUND", message: `${this.address} has no ${method.name}` });
    const reply = await served.handler(method.request(request, "request"), this.#incoming(method.name));
    if (!this.#other.alive) return new Promise<never>(() => undefined);
    const copy = method.reply(structuredClone(reply), "reply");
    await net.pass(this.address, address);
    return copy;
  }

  #incoming(method: string): IncomingCall {
    const abort = new AbortController();
    this.twin.onClose((error) => abort.abort(error));
    const nothing = (): void => undefined;
    const fixed = { method, parts: [], epoch: undefined, traceparent: undefined, wantsStream: false, oneway: false };
    return {
      ...fixed,
      peer: this.twin,
      signal: abort.signal,
      abortedWith: undefined,
      onAbort: () => nothing,
      reply: nothing,
      fail: nothing,
      item: async () => undefined,
      end: nothing,
    };
  }

  tell<Request>(method: Method<Request, unknown>, request: Request): void {
    this.invoke(method, request).catch(() => undefined);
  }

  call(): Promise<Parts> {
    throw new Error("not in this fake");
  }

  submit(): number {
    throw new Error("not in this fake");
  }

  cancel(): void {
    throw new Error("not in this fake");
  }

  stream(): ItemStream {
    throw new Error("not in this fake");
  }

  notify(): void {}

  onClose(listener: (error: WhiprayError) => void): void {
    this.#onClose.push(listener);
  }

  onLost(): () => void {
    return () => undefined;
  }

  onReset(): void {}

  close(error = new WhiprayError({ code: "GOODBYE", message: `${this.#own.address} closed the session` })): void {
    this.end(error);
    this.twin.end(error);
  }

  end(error: WhiprayError): void {
    if (this.closed && this.#pending.size === 0 && this.#onClose.length === 0) return;
    this.closed = true;
    for (const fail of [...this.#pending]) fail(new WhiprayError({ code: "OUTCOME_UNKNOWN", message: error.message }));
    for (const listener of this.#onClose.splice(0)) listener(error);
  }
}
