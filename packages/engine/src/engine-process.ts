import { randomBytes } from "node:crypto";
import { asWhiprayError, type Clock, delay, type Timer, WhiprayError, type WorkerCrashedError } from "@whipray/core";
import {
  type CallOptions,
  type DeathCause,
  engineStop,
  type IncomingCall,
  type Infer,
  type ItemStream,
  type Parts,
  type Peer,
  type ReplySink,
  type StoredWire,
  storedOf,
} from "@whipray/rpc";
import { type DeadEngine, engineCrashed } from "./engine-death.ts";
import { type Door, EngineDoors } from "./engine-doors.ts";
import { EngineObjects } from "./engine-objects.ts";
import { startEngine } from "./engine-start.ts";
import { type Callee, forwardCall } from "./forward.ts";
import { decodeHostValue, encodeHostRequest, HOST_METHODS } from "./host-methods.ts";
import { DEFAULT_GRACE_MS, type EngineLauncher, type EngineSpec } from "./launcher.ts";

/** How long the end of an engine's connection waits for the raylet's word on why, before callers hear of it without. */
export const CAUSE_WAIT_MS = 2_000;
/** How long replies that are still in the socket may take after the raylet said that the engine has ended. */
export const DRAIN_MS = 1_000;
/** A token of an engine: 256 bits. */
const TOKEN_BYTES = 32;

export type EngineStopped = Infer<(typeof engineStop)["reply"]>;

/** A Python engine host that this process launched: called over its own unix socket, watched until its end. */
export class EngineProcess {
  readonly #launcher: EngineLauncher;
  readonly #identity: DeadEngine;
  readonly #graceMs: number;
  readonly #peer: Peer;
  readonly #objects: EngineObjects | undefined;
  readonly #doors: EngineDoors;
  readonly #listeners: ((error: WorkerCrashedError) => void)[] = [];
  #lost: WhiprayError | undefined;
  #cause: DeathCause | undefined;
  #death: WorkerCrashedError | undefined;
  #gotCause: () => void = () => {};
  #drain: Timer | undefined;
  #known: Promise<void>;

  private constructor(launcher: EngineLauncher, identity: DeadEngine, graceMs: number, peer: Peer) {
    this.#launcher = launcher;
    this.#identity = identity;
    this.#graceMs = graceMs;
    this.#peer = peer;
    this.#known = new Promise((resolve) => {
      this.#gotCause = resolve;
    });
    const { objects, clock, socket, ids } = launcher;
    const ask = (method: string, parts: Parts) => this.call(method, parts);
    this.#doors = new EngineDoors({ to: peer.address, socket, ids, clock, ask });
    this.#objects = objects && new EngineObjects(() => objects.client(), ask, clock);
    peer.onClose((error) => void this.#end(error));
  }

  /**
   * Starts an engine in the launcher's lease and waits for its connection.
   *
   * @throws WhiprayError `ENGINE_START_FAILED` when it ended before (with exit code or signal, last lines and log),
   *   `ENGINE_START_TIMEOUT` when it did not dial in time (it is stopped), and what the raylet refused, such as `INVALID_ENV`.
   */
  static async launch(launcher: EngineLauncher, spec: EngineSpec, signal?: AbortSignal): Promise<EngineProcess> {
    const engineId = launcher.ids.next("engine");
    const token = randomBytes(TOKEN_BYTES).toString("hex");
    let engine: EngineProcess | undefined;
    const started = await startEngine(launcher, spec, { engineId, token, signal }, (cause) => {
      if (engine) engine.#ended(cause);
    });
    const { nodeId, actorId } = launcher;
    const address = `${nodeId}/${engineId}`;
    const peer = launcher.endpoint.connect({ to: address, url: `accepted:${address}`, purpose: "data" });
    const identity = { engineId, nodeId, actorId, pid: started.pid, logPath: started.logPath };
    engine = new EngineProcess(launcher, identity, spec.graceMs ?? DEFAULT_GRACE_MS, peer);
    return engine;
  }

  get engineId(): string {
    return this.#identity.engineId;
  }

  get pid(): number {
    return this.#identity.pid ?? 0;
  }

  get logPath(): string {
    return this.#identity.logPath ?? "";
  }

  /** Why it is gone; undefined while it runs. */
  get death(): WorkerCrashedError | undefined {
    return this.#death;
  }

  /** One reply of a host method. @throws WorkerCrashedError with the cause of death when the engine ends meanwhile. */
  call(method: string, parts: Parts, options: CallOptions = {}): Promise<Parts> {
    return new Promise((resolve, reject) => this.submit(method, parts, options, { resolve, reject }));
  }

  /** As `call`, but tells a sink, at once when the reply comes: for calls that are only passed on. */
  submit(method: string, parts: Parts, options: CallOptions, sink: ReplySink): void {
    if (this.#death) sink.reject(this.#death);
    else this.#peer.submit(method, parts, options, new EngineProcess.#Explaining(this, method, sink));
  }

  /** Says of a call that its engine's end has cut off what became of the engine. */
  static readonly #Explaining = class implements ReplySink {
    readonly #engine: EngineProcess;
    readonly #method: string;
    readonly #sink: ReplySink;

    constructor(engine: EngineProcess, method: string, sink: ReplySink) {
      this.#engine = engine;
      this.#method = method;
      this.#sink = sink;
    }

    resolve(parts: Parts): void {
      this.#sink.resolve(parts);
    }

    // Later, when the session has told of its end: only then it is known what the error comes from.
    reject(error: WhiprayError): void {
      queueMicrotask(() => {
        void this.#engine.#explained(error, this.#method).then((explained) => this.#sink.reject(explained));
      });
    }
  };

  /** The items of a host method. */
  stream(method: string, parts: Parts, options?: CallOptions): ItemStream {
    const dead = this.#death;
    const items = this.#peer.stream(method, parts, options);
    const stream: ItemStream = {
      next: () =>
        items.next().catch(async (error: unknown) => {
          throw dead ?? (await this.#explained(asWhiprayError(error), method));
        }),
      return: () => items.return?.() ?? Promise.resolve({ done: true, value: undefined }),
      [Symbol.asyncIterator]: () => stream,
    };
    return stream;
  }

  /** A call without an answer; lost when the engine is gone. */
  notify(method: string, parts: Parts, options?: CallOptions): void {
    this.#peer.notify(method, parts, options);
  }

  /** The parts that go to the engine for arguments that lie in the node's store; `forward` them once. */
  lend(stored: StoredWire): Promise<Parts> {
    return this.#store().lend(stored);
  }

  /** One argument that lies there, as the host maps it (`stored` of a request); `returned` when the call is over. */
  lendOne(stored: StoredWire): Promise<unknown[]> {
    return this.#store().lendOne(stored);
  }

  returned({ id }: StoredWire): void {
    this.#store().returned(id);
  }

  #store(): EngineObjects {
    if (this.#objects) return this.#objects;
    throw new WhiprayError({ code: "INVALID_STATE", message: "This engine was launched without an object store" });
  }

  /**
   * Passes another process' call on to a host method, and its outcome back, without decoding; `parts` go instead of its own. `via` is this
   * engine, for who looks at what comes back.
   */
  forward(incoming: IncomingCall, method: string, parts?: Parts, via: Callee = this): Promise<void> {
    const objects = this.#objects;
    if (!objects) return forwardCall(incoming, via, method, parts);
    const stores = method === HOST_METHODS.call && !incoming.wantsStream && !incoming.oneway;
    const finish = stores ? (reply: Parts) => objects.result(reply, incoming) : undefined;
    const done = forwardCall(incoming, via, stores ? HOST_METHODS.callStored : method, parts, finish);
    return parts ? done.then(() => objects.returned(storedOf(parts)?.id)) : done;
  }

  /** A way for one caller of this machine to come straight to this engine, with calls in the order of its own. */
  openDoor(): Promise<Door> {
    return this.#doors.open();
  }

  /** Answers a caller that came in by a door with its large result, whose token is the call's one part. */
  async giveResult(incoming: IncomingCall): Promise<void> {
    try {
      incoming.reply((await this.#objects?.result(incoming.parts, incoming)) ?? incoming.parts);
    } catch (error) {
      incoming.fail(error);
    }
  }

  /** Why a caller's connection by a door ended: rejects with what became of the engine, or settles when it lives on. */
  async whyCut(): Promise<void> {
    const { clock } = this.#launcher;
    const lost = new Promise<void>((resolve) => this.onEnded(() => resolve()));
    await Promise.race([lost, delay(clock, CAUSE_WAIT_MS)]);
    if (!this.#lost) return;
    await this.#causeOr(clock);
    throw this.#crashed(HOST_METHODS.call);
  }

  /**
   * What the host says of itself. It answers while a call runs; no answer within `timeoutMs` (default 10 000) means busy (C
   * code holds the GIL), never dead: liveness is the process (design.md, mechanism 10).
   */
  async health(timeoutMs = 10_000): Promise<unknown> {
    return decodeHostValue(await this.call(HOST_METHODS.health, encodeHostRequest({}), { timeoutMs }));
  }

  /** SIGTERM, after `graceMs` SIGKILL, to its whole tree; resolves when no process of it is left. */
  stop(graceMs = this.#graceMs): Promise<EngineStopped> {
    return this.#launcher.raylet.invoke(engineStop, { engineId: this.engineId, graceMs });
  }

  /** Called once when the engine is gone, at once when it is gone already. */
  onEnded(listener: (error: WorkerCrashedError) => void): void {
    if (this.#death) listener(this.#death);
    else this.#listeners.push(listener);
  }

  // The raylet's word. Replies may still lie in the socket, whose end comes by itself unless a descendant holds it open.
  #ended(cause: DeathCause): void {
    this.#cause = cause;
    this.#gotCause();
    if (this.#lost) return;
    this.#drain = this.#launcher.clock.after(DRAIN_MS, () =>
      this.#peer.close(engineCrashed(this.#identity, cause, {})),
    );
  }

  async #end(lost: WhiprayError): Promise<void> {
    this.#lost = lost;
    this.#objects?.end();
    this.#doors.end();
    this.#drain?.cancel();
    await this.#causeOr(this.#launcher.clock);
    this.#death = engineCrashed(this.#identity, this.#cause, { underlying: lost });
    for (const listener of this.#listeners.splice(0)) listener(this.#death);
  }

  #causeOr(clock: Clock): Promise<void> {
    return this.#cause ? Promise.resolve() : Promise.race([this.#known, delay(clock, CAUSE_WAIT_MS)]);
  }

  /** The session's own end, told as what became of the process; any other error as it is. */
  async #explained(error: WhiprayError, method: string): Promise<WhiprayError> {
    const ours = this.#lost && (error === this.#lost || error.cause === this.#lost);
    if (!ours) return error;
    await this.#causeOr(this.#launcher.clock);
    return this.#crashed(method);
  }

  #crashed(method: string): WorkerCrashedError {
    const call = method === HOST_METHODS.call || method === HOST_METHODS.callStored;
    return engineCrashed(this.#identity, this.#cause, {
      during: `before ${call ? "the call" : method} had ended`,
      underlying: this.#lost,
    });
  }
}
