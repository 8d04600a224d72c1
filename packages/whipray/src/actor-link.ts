import {
  type AbortOptions,
  ActorDiedError,
  ActorUnavailableError,
  asWhiprayError,
  DeviceLostError,
  type ErrorWire,
  errorFromWire,
  RayActorError,
  WhiprayError,
} from "@whipray/core";
import {
  type ActorRow,
  actorResolve,
  type CallOptions,
  type DeathCause,
  type ItemStream,
  type Parts,
  type Peer,
  type ReplySink,
} from "@whipray/rpc";
import type { Driver } from "./driver.ts";
import type { ObjectStore } from "./object-store.ts";

/** How long a broken connection may wait for the head's word on what became of the actor. */
const VERDICT_TIMEOUT_MS = 30_000;
/** One long poll for an actor's next state. */
const RESOLVE_POLL_MS = 20_000;
/** Calls that take longer than this are watched over: the head tells when their actor's node is gone. */
const WATCH_AFTER_MS = 1_000;

/** A call of an actor, and who waits for it. */
export interface Submission {
  readonly method: string;
  readonly parts: Parts;
  readonly options: CallOptions;
  /** Executions that may still be risked after a death in mid-call (Ray: max_task_retries; −1 = no bound). */
  retries: number;
  resolve(parts: Parts): void;
  reject(error: unknown): void;
}

/** A place in the order of calls; empty while arguments are awaited. */
interface Place {
  submission?: Submission | undefined;
  dropped?: boolean;
}

/**
 * This process' way to one actor: finds it, keeps calls in order, and tells what became of them when it dies. A call that was
 * sent is never sent again unless the actor allows retries; one that never left waits for a restart (docs/differences-from-ray.md).
 */
export class ActorLink {
  readonly actorId: string;
  readonly #driver: Driver;
  readonly #waiting: Submission[] = [];
  #held: Place[] = [];
  #row: ActorRow | undefined;
  /** Of calls that set none of their own. */
  #plainOptions: CallOptions = {};
  #peer: Peer | undefined;
  #finding: Promise<void> | undefined;
  #death: WhiprayError | undefined;
  /** Calls and streams under way. */
  #running = 0;
  #watching = false;

  constructor(driver: Driver, actorId: string) {
    this.#driver = driver;
    this.actorId = actorId;
  }

  /** For large arguments. */
  get objects(): ObjectStore {
    return this.#driver.objects;
  }

  call(method: string, parts: Parts, options: CallOptions): Promise<Parts> {
    return new Promise((resolve, reject) => {
      this.submit({ method, parts, options, retries: Number.NaN, resolve, reject });
    });
  }

  submit(submission: Submission): void {
    if (this.#held.length === 0) this.#submit(submission);
    else this.#held.push({ submission });
  }

  /**
   * A call whose arguments are not there before `ready`. Later calls of this link wait behind it (Ray: a call whose arguments
   * are not ready blocks the following ones of its caller).
   */
  submitWhen(submission: Submission, ready: Promise<void>): void {
    const place: Place = {};
    this.#held.push(place);
    const fill = (filled: Submission | undefined): void => {
      place.submission = filled;
      place.dropped = filled === undefined;
      while (this.#held[0]?.submission ?? this.#held[0]?.dropped) {
        const next = this.#held.shift() as Place;
        if (next.submission) this.#submit(next.submission);
      }
    };
    ready.then(
      () => fill(submission),
      (error: unknown) => {
        submission.reject(error);
        fill(undefined);
      },
    );
  }

  /** Items of a generator method. Streams are not retried. */
  async *stream(method: string, parts: Parts, options: CallOptions): AsyncGenerator<Parts, Parts | undefined> {
    const peer = await this.#find();
    const stream: ItemStream = peer.stream(method, parts, { ...options, epoch: this.#row?.epoch });
    this.#begun(peer);
    try {
      for (;;) {
        const step = await stream.next();
        if (step.done) return step.value;
        yield step.value;
      }
    } catch (error) {
      throw peer.closed ? await this.#verdict(asWhiprayError(error), method) : error;
    } finally {
      this.#running--;
      await stream.return?.();
    }
  }

  /** The actor as the head knows it, at once. */
  async row(options?: AbortOptions): Promise<ActorRow> {
    return (await this.#driver.ask(actorResolve, { actorId: this.actorId, wait: false }, options)).actor;
  }

  /** Waits until the constructor is done. @throws ActorDiedError with its error. */
  async ready(options: CallOptions = {}): Promise<void> {
    await this.call("$ready", [], options);
  }

  #submit(submission: Submission): void {
    if (this.#death) submission.reject(this.#death);
    else if (this.#peer && !this.#peer.closed && this.#waiting.length === 0) this.#send(this.#peer, submission);
    else {
      this.#waiting.push(submission);
      this.#find().catch(() => {});
    }
  }

  #send(peer: Peer, submission: Submission): void {
    const { method, parts, options } = submission;
    const { signal, timeoutMs, traceparent } = options;
    const plain = signal === undefined && timeoutMs === undefined && traceparent === undefined;
    const stamped = plain ? this.#plainOptions : { ...options, epoch: this.#row?.epoch };
    if (Number.isNaN(submission.retries)) submission.retries = this.#row?.maxTaskRetries ?? 0;
    this.#begun(peer);
    peer.submit(method, parts, stamped, new ActorLink.#Sent(this, peer, submission));
  }

  /** A submission under way. */
  static readonly #Sent = class implements ReplySink {
    readonly #link: ActorLink;
    readonly #peer: Peer;
    readonly #submission: Submission;

    constructor(link: ActorLink, peer: Peer, submission: Submission) {
      this.#link = link;
      this.#peer = peer;
      this.#submission = submission;
    }

    resolve(parts: Parts): void {
      this.#link.#running--;
      this.#submission.resolve(parts);
    }

    // Later, as the session tells of its end: what is submitted again must find the peer closed.
    reject(error: WhiprayError): void {
      queueMicrotask(() => {
        this.#link.#running--;
        if (!this.#peer.closed) this.#submission.reject(error);
        else void this.#link.#afterLoss(this.#submission, asWhiprayError(error));
      });
    }
  };

  #begun(peer: Peer): void {
    this.#running++;
    this.#watchLater(peer);
  }

  // One timer a second at most, however many calls.
  #watchLater(peer: Peer): void {
    if (this.#watching || this.#running === 0 || peer.closed) return;
    this.#watching = true;
    this.#driver.connection.clock.after(WATCH_AFTER_MS, () => {
      void this.#watch(peer).finally(() => {
        this.#watching = false;
        if (this.#peer) this.#watchLater(this.#peer);
      });
    });
  }

  /**
   * A call ends when its target is declared dead (design.md, mechanism 2), which the head knows long before the session with a node
   * that fell silent gives up.
   */
  async #watch(peer: Peer): Promise<void> {
    const epoch = this.#row?.epoch ?? 0;
    const request = { actorId: this.actorId, wait: true, afterEpoch: epoch, timeoutMs: RESOLVE_POLL_MS };
    while (this.#running > 0 && !peer.closed) {
      try {
        const { actor } = await this.#driver.ask(actorResolve, request);
        if (actor.state === "DEAD") peer.close(diedError(actor));
        else if (actor.epoch > epoch) peer.close(movedError(actor));
      } catch {
        return; // the head is away: the session's own time limit holds
      }
    }
  }

  // The session ended under the call. What never left goes out again after a restart; the rest only with retries.
  async #afterLoss(submission: Submission, error: WhiprayError): Promise<void> {
    try {
      if (error.retryable && error.code === "UNREACHABLE") this.#submit(submission);
      else if (submission.retries !== 0 && !submission.options.signal?.aborted) {
        submission.retries = submission.retries < 0 ? -1 : submission.retries - 1;
        this.#submit(submission);
      } else submission.reject(await this.#verdict(error, submission.method));
    } catch (failure) {
      submission.reject(failure);
    }
  }

  /** What to tell the caller of a call whose session ended: death with its cause, or "may have run". */
  async #verdict(error: WhiprayError, method: string): Promise<WhiprayError> {
    if (error instanceof RayActorError) return error;
    const epoch = this.#row?.epoch ?? 0;
    try {
      const request = { actorId: this.actorId, wait: true, afterEpoch: epoch, timeoutMs: VERDICT_TIMEOUT_MS };
      const { actor } = await this.#driver.ask(actorResolve, request, { timeoutMs: VERDICT_TIMEOUT_MS + 5_000 });
      if (actor.state === "DEAD") return diedError(actor);
    } catch (cause) {
      return new ActorUnavailableError({
        message: `${method}: the actor is out of reach, and so is the head that knows why`,
        cause,
      });
    }
    return new ActorUnavailableError({
      message: `${method} was under way when actor ${this.actorId} (epoch ${epoch}) went away; it may or may not have run. Set maxTaskRetries to run such calls again`,
      details: { actorId: this.actorId, epoch, method },
      cause: error,
    });
  }

  // One search at a time; whoever waits is sent in order as soon as there is a peer, before anybody else can overtake.
  #find(): Promise<Peer> {
    if (this.#peer && !this.#peer.closed) return Promise.resolve(this.#peer);
    this.#finding ??= this.#search().finally(() => {
      this.#finding = undefined;
    });
    return this.#finding.then(() => this.#peer as Peer);
  }

  async #search(): Promise<void> {
    try {
      const lostEpoch = this.#row?.epoch;
      const row = await this.#alive(lostEpoch);
      this.#row = row;
      this.#plainOptions = { epoch: row.epoch };
      this.#peer = await this.#driver.reach(row);
      for (const submission of this.#waiting.splice(0)) this.#send(this.#peer, submission);
    } catch (error) {
      if (error instanceof ActorDiedError) this.#death = error;
      for (const submission of this.#waiting.splice(0)) submission.reject(error);
      throw error;
    }
  }

  async #alive(afterEpoch: number | undefined): Promise<ActorRow> {
    for (;;) {
      const request = { actorId: this.actorId, wait: true, afterEpoch, timeoutMs: RESOLVE_POLL_MS };
      const { actor } = await this.#driver.ask(actorResolve, request);
      if (actor.state === "DEAD") throw diedError(actor);
      if (actor.state === "ALIVE" && (afterEpoch === undefined || actor.epoch > afterEpoch)) return actor;
    }
  }
}

/** Calls that were sent have an open outcome; the others go to the new one. */
function movedError({ actorId, epoch }: ActorRow): WhiprayError {
  return new WhiprayError({
    code: "UNREACHABLE",
    message: `Actor ${actorId} was started anew (epoch ${epoch})`,
    retryable: true,
    details: { actorId, epoch },
  });
}

/** Lines of stderr that the message shows; `where.stderrTail` has all that the raylet kept. */
const SHOWN_LINES = 20;

/** ActorDiedError that tells what the head knows: exit code or signal, last lines, log path, the constructor's error. */
export function diedError(row: ActorRow): ActorDiedError {
  const death: Partial<DeathCause> = row.death ?? {};
  const where = death.nodeId ? ` on ${death.nodeId}` : "";
  const message = death.message ?? "no cause known";
  const ending = death.signal
    ? `signal ${death.signal}`
    : death.exitCode === undefined
      ? ""
      : `exit code ${death.exitCode}`;
  const how = message.includes(ending) ? "" : ` (${ending})`;
  const tail = death.stderrTail?.length
    ? `\nlast lines of stderr:\n${death.stderrTail.slice(-SHOWN_LINES).join("\n")}`
    : "";
  const log = death.logPath === undefined ? "" : `\nits log: ${death.logPath}`;
  const Kind = death.kind === "DEVICE_LOST" ? DeviceLostError : ActorDiedError;
  return new Kind({
    message: `Actor ${row.name ?? row.className} (${row.actorId}) is dead${where}: ${message}${how}${tail}${log}`,
    details: { actorId: row.actorId, actorInitFailed: death.kind === "CREATION_FAILED", cause: death.kind },
    where: {
      actor: row.actorId,
      ...(death.nodeId !== undefined && { node: death.nodeId }),
      ...(death.pid !== undefined && { pid: death.pid }),
      ...(death.exitCode !== undefined && { exitCode: death.exitCode }),
      ...(death.signal !== undefined && { signal: death.signal }),
      ...(death.stderrTail !== undefined && { stderrTail: death.stderrTail }),
      ...(death.logPath !== undefined && { logPath: death.logPath }),
    },
    ...(death.error !== undefined && { cause: errorFromWire(death.error as ErrorWire) }),
  });
}
