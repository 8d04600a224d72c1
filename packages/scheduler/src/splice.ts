import {
  ActorDiedError,
  ActorUnavailableError,
  asWhiprayError,
  type Clock,
  NodeDiedError,
  OutcomeUnknownError,
  TaskCancelledError,
  WhiprayError,
  WorkerCrashedError,
} from "@whipray/core";
import { type Door, decodeHostValue, encodeHostRequest, HOST_METHODS } from "@whipray/engine";
import { type CallOptions, type ItemStream, type Parts, type Peer, type ReplySink, storedOf } from "@whipray/rpc";
import { isLarge } from "@whipray/worker";
import { DOOR_METHODS } from "./door-methods.ts";

/** How a caller comes to engines past their RPC server. */
export interface DoorDialer {
  /** The engine's machine is this one. */
  near(): boolean;
  dial(door: Door): Peer;
}

/** The RPC server's own calls. */
export type CallServer = (method: string, parts: Parts, options: CallOptions) => Promise<Parts>;

/** Doors that are asked for before a caller stays with the server. */
export const DOOR_TRIES = 3;
/** Longest wait for a door, for the first answer through it, and for why it broke. */
const DOOR_TIMEOUT_MS = 10_000;
const NOTHING = encodeHostRequest({});
/** Where a result waits that goes through the node's store. */
const IN_ENGINE = "engine";

interface Held {
  start(): void;
}

/**
 * One caller's way to one engine host: through its RPC server, and as soon as nothing is under way there, straight through a door of the host
 * on the same machine. What the caller asks for arrives in that order, whichever way it goes: calls go straight only while none is under way
 * by the server, and one that must go by the server waits until the host has said (`fence`) that the straight ones before it are in its queue.
 * A call goes one of the two ways, once.
 */
export class Splice {
  readonly #callServer: CallServer;
  readonly #dialer: DoorDialer;
  readonly #clock: Clock;
  /** What the server's methods end with, of this host: nothing, or `@role/index`. */
  readonly #host: string;
  #peer: Peer | undefined;
  #opening = false;
  #tries = 0;
  /** Ordered calls under way by the server. */
  #byServer = 0;
  /** Straight calls of which the host has not said that they arrived. A fence begins a new round of them. */
  #loose = 0;
  #round = 0;
  #fences = 0;
  #held: Held[] = [];

  constructor(callServer: CallServer, dialer: DoorDialer, clock: Clock, host = "") {
    this.#callServer = callServer;
    this.#dialer = dialer;
    this.#clock = clock;
    this.#host = host;
  }

  /** The way for a small call that is made now, if it is open and nothing goes before it by the server. */
  get straight(): Peer | undefined {
    const free = this.#byServer === 0 && this.#held.length === 0;
    return free && this.#peer?.closed === false ? this.#peer : undefined;
  }

  /** A call of an engine's method. */
  call(parts: Parts, options: CallOptions): Promise<Parts> {
    const peer = this.straight;
    if (!peer || isLarge(parts)) return this.ordered(`call${this.#host}`, parts, options);
    return new Promise((resolve, reject) => {
      peer.submit(HOST_METHODS.callStored, parts, options, new Splice.#Straight(this, peer, resolve, reject));
    });
  }

  /** A call by the server, behind the straight ones that were made before. */
  ordered(method: string, parts: Parts, options: CallOptions): Promise<Parts> {
    if (this.#held.length === 0 && this.#settled) return this.#send(method, parts, options);
    return new Promise((resolve, reject) => this.#hold(method, parts, options, resolve, reject));
  }

  /** The items of a generator method, straight. */
  async *items(peer: Peer, parts: Parts, options: CallOptions): AsyncGenerator<Parts, Parts | undefined> {
    const arrived = this.#depart();
    const items = peer.stream(HOST_METHODS.call, parts, options);
    try {
      for (;;) {
        const step = await items.next();
        if (step.done) return step.value as Parts | undefined;
        yield step.value;
      }
    } catch (error) {
      // The session tells of its end after its calls.
      await undefined;
      throw peer.closed ? await this.#whyCut(asWhiprayError(error)) : error;
    } finally {
      arrived();
      await items.return?.();
    }
  }

  /** Settles when the host has all straight calls that were made until now. */
  async fence(): Promise<void> {
    const peer = this.#peer;
    if (!peer || this.#settled) return;
    this.#nextRound();
    this.#fences++;
    await peer.call(HOST_METHODS.fence, NOTHING).catch(() => {}); // its end is an answer, too
    this.#fences--;
  }

  get #settled(): boolean {
    return !this.#peer || (this.#loose === 0 && this.#fences === 0);
  }

  #nextRound(): void {
    this.#round++;
    this.#loose = 0;
  }

  /** The items of a generator method by the server. */
  async *itemsByServer(items: ItemStream): AsyncGenerator<Parts, Parts | undefined> {
    await this.fence();
    this.#byServer++;
    try {
      return (yield* items) as Parts | undefined;
    } finally {
      this.#byServer--;
    }
  }

  async #send(method: string, parts: Parts, options: CallOptions): Promise<Parts> {
    this.#byServer++;
    try {
      const reply = await this.#callServer(method, parts, options);
      if (!this.#peer && !this.#opening && this.#tries < DOOR_TRIES && this.#dialer.near()) void this.#open();
      return reply;
    } finally {
      this.#byServer--;
    }
  }

  async #open(): Promise<void> {
    this.#opening = true;
    this.#tries++;
    let peer: Peer | undefined;
    try {
      const options = { timeoutMs: DOOR_TIMEOUT_MS };
      const door = decodeHostValue(await this.#callServer(DOOR_METHODS.open + this.#host, [], options)) as Door;
      peer = this.#dialer.dial(door);
      await peer.call(HOST_METHODS.fence, NOTHING, options);
      this.#peer = peer;
      this.#tries = 0;
      peer.onClose(() => {
        this.#peer = undefined;
        this.#nextRound();
      });
    } catch {
      // The way by the server stays: no engine yet, no such file system here, or the host is full of callers.
      peer?.close();
    } finally {
      this.#opening = false;
    }
  }

  /** Counts a straight call; the returned function says that it was answered. */
  #depart(): () => void {
    const round = this.#round;
    this.#loose++;
    return () => {
      if (round === this.#round) this.#loose--;
    };
  }

  #hold(
    method: string,
    parts: Parts,
    options: CallOptions,
    resolve: (parts: Parts) => void,
    reject: (error: unknown) => void,
  ): void {
    const { signal, timeoutMs } = options;
    const untilMs = timeoutMs === undefined ? undefined : this.#clock.now() + timeoutMs;
    const leave = (error: WhiprayError): void => {
      this.#held = this.#held.filter((one) => one !== held);
      release();
      reject(error);
    };
    const onAbort = (): void => leave(unsent(method, signal?.reason));
    const timer =
      timeoutMs === undefined ? undefined : this.#clock.after(timeoutMs, () => leave(late(method, timeoutMs)));
    const release = (): void => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    const held: Held = {
      start: () => {
        release();
        const leftMs = untilMs === undefined ? undefined : Math.max(1, Math.ceil(untilMs - this.#clock.now()));
        this.#send(method, parts, { ...options, timeoutMs: leftMs }).then(resolve, reject);
      },
    };
    this.#held.push(held);
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
    if (this.#held.length === 1 && this.#held[0] === held) void this.fence().then(() => this.#goOn());
  }

  /** What was held goes by the server, small calls too: they are behind one that must. */
  #goOn(): void {
    const held = this.#held;
    this.#held = [];
    for (const one of held) one.start();
  }

  /** What to tell the caller of a straight call whose connection ended under it. It may have run, and is not made again. */
  async #whyCut(error: WhiprayError): Promise<WhiprayError> {
    try {
      await this.#callServer(DOOR_METHODS.whyCut + this.#host, [], { timeoutMs: DOOR_TIMEOUT_MS });
      return error;
    } catch (why) {
      return isDeath(why) ? why : error;
    }
  }

  /** The large result of a straight call: the server makes room for it, and answers in the host's stead. */
  async #fetch(reply: Parts): Promise<Parts> {
    try {
      return await this.#callServer(DOOR_METHODS.giveResult + this.#host, reply, {});
    } catch (error) {
      if (isDeath(error)) throw error;
      const message = `The call ran, but its large result could not be fetched: ${asWhiprayError(error).message}`;
      throw new OutcomeUnknownError({ message, cause: error });
    }
  }

  /** A straight call under way. */
  static readonly #Straight = class implements ReplySink {
    readonly #splice: Splice;
    readonly #peer: Peer;
    readonly #resolve: (parts: Parts) => void;
    readonly #reject: (error: unknown) => void;
    readonly #sentIn: number;

    constructor(splice: Splice, peer: Peer, resolve: (parts: Parts) => void, reject: (error: unknown) => void) {
      this.#splice = splice;
      this.#peer = peer;
      this.#resolve = resolve;
      this.#reject = reject;
      this.#sentIn = splice.#round;
      splice.#loose++;
    }

    resolve(reply: Parts): void {
      this.#arrived();
      if (storedOf(reply)?.location === IN_ENGINE) this.#splice.#fetch(reply).then(this.#resolve, this.#reject);
      else this.#resolve(reply);
    }

    // Later, when the session has told of its end: only then it is known what the error comes from.
    reject(error: WhiprayError): void {
      this.#arrived();
      queueMicrotask(() => {
        if (!this.#peer.closed) this.#reject(error);
        else void this.#splice.#whyCut(error).then(this.#reject);
      });
    }

    #arrived(): void {
      if (this.#sentIn === this.#splice.#round) this.#splice.#loose--;
    }
  };
}

function isDeath(error: unknown): error is WhiprayError {
  return [ActorDiedError, ActorUnavailableError, NodeDiedError, WorkerCrashedError].some(
    (type) => error instanceof type,
  );
}

function unsent(method: string, reason: unknown): WhiprayError {
  if (reason instanceof WhiprayError) return reason;
  return new TaskCancelledError({ message: `${method} was cancelled before it was sent`, cause: reason });
}

function late(method: string, timeoutMs: number): WhiprayError {
  const message = `${method} did not end within ${timeoutMs} ms`;
  return new WhiprayError({ code: "DEADLINE_EXCEEDED", message, details: { method, timeoutMs } });
}
