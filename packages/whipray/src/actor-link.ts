import {
  type AbortOptions,
  ActorDiedError,
  ActorUnavailableError,
  asWhiprayError,
  RayActorError,
  type WhiprayError,
} from "@whipray/core";
import {
  type ActorRow,
  actorResolve,
  type CallOptions,
  type ItemStream,
  type Parts,
  type Peer,
  type ReplySink,
} from "@whipray/rpc";
import { diedError, disposedError, movedError } from "./actor-death.ts";
import { CallOrder } from "./call-order.ts";
import { Cancelling, isCancelled } from "./cancelling.ts";
import type { Driver } from "./driver.ts";
import { applyRules, isRetried, takeRetry } from "./method-rules.ts";
import type { ObjectStore } from "./object-store.ts";
import { PendingCalls } from "./pending-calls.ts";
import { cancelledUnsent, type Submission, type SubmitOptions, unsent } from "./submission.ts";
import type { TaskReport } from "./task-reports.ts";
import { WaitingCalls } from "./waiting-calls.ts";
import { WatchedCall } from "./watched-call.ts";

/** How long a broken connection may wait for the head's word on what became of the actor. */
const VERDICT_TIMEOUT_MS = 30_000;
/** One long poll for an actor's next state. */
const RESOLVE_POLL_MS = 20_000;
/** Calls that take longer than this are watched over: the head tells when their actor's node is gone. */
const WATCH_AFTER_MS = 1_000;

/**
 * This process' way to one actor: finds it, keeps calls in order, and tells what became of them when it dies. A call that was
 * sent is never sent again unless the actor allows retries; one that never left waits for a restart (docs/differences-from-ray.md).
 */
export class ActorLink {
  readonly actorId: string;
  /** For people. */
  className = "";
  readonly #driver: Driver;
  readonly #waiting: WaitingCalls;
  readonly #order: CallOrder;
  readonly #pending: PendingCalls;
  #row: ActorRow | undefined;
  /** Of calls that set none of their own. */
  #plainOptions: CallOptions = {};
  #peer: Peer | undefined;
  #finding: Promise<void> | undefined;
  #death: WhiprayError | undefined;
  /** Its handle was disposed. */
  #closed = false;
  /** Calls and streams under way. */
  #running = 0;
  #watching = false;

  /** `maxPendingCalls` where it is known already. */
  constructor(driver: Driver, actorId: string, maxPendingCalls?: number) {
    this.#driver = driver;
    this.actorId = actorId;
    const { clock } = driver.connection;
    this.#waiting = new WaitingCalls(clock);
    this.#order = new CallOrder(clock, (submission) => this.#submit(submission));
    this.#pending = new PendingCalls(maxPendingCalls);
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
    const call = this.#enter(submission);
    if (call) this.#order.submit(call);
  }

  /** A call whose arguments are not there before `ready`. */
  submitWhen(submission: Submission, ready: Promise<void>): void {
    const call = this.#enter(submission);
    if (call) this.#order.submitWhen(call, ready);
    else ready.catch(() => {}); // it was refused already
  }

  /** No call of this handle has still to be answered. */
  get idle(): boolean {
    return this.#running === 0 && this.#waiting.size === 0 && this.#order.idle;
  }

  /** It was found on this machine. */
  get near(): boolean {
    return this.#row?.nodeId !== undefined && this.#row.nodeId === this.#driver.connection.localNode;
  }

  /** Takes no more calls. */
  close(): void {
    this.#closed = true;
  }

  #enter(submission: Submission): Submission | undefined {
    const { timeoutMs } = submission.options;
    if (this.#closed) {
      submission.reject(disposedError(this.actorId));
      return undefined;
    }
    if (isCancelled(submission.options)) {
      submission.reject(cancelledUnsent(submission));
      return undefined;
    }
    if (timeoutMs !== undefined) submission.deadlineAtMs = this.#driver.connection.clock.now() + timeoutMs;
    try {
      const { method, options } = submission;
      const answered = this.#pending.take(method);
      const report = this.#report(method);
      return answered || report || options.parent?.isChild ? new WatchedCall(submission, report, answered) : submission;
    } catch (error) {
      submission.reject(error);
      return undefined;
    }
  }

  /** What calls users make is told; what they mean by `$` is ours. */
  #report(method: string): TaskReport | undefined {
    return method.startsWith("$") ? undefined : this.#driver.reports.call(`${this.className}.${method}`, this.actorId);
  }

  /** Items of a generator method. Streams are not retried. `timeoutMs` counts from here, also while the actor has no place. */
  async *stream(method: string, parts: Parts, options: SubmitOptions): AsyncGenerator<Parts, Parts | undefined> {
    if (this.#closed) throw disposedError(this.actorId);
    const answered = this.#pending.take(method);
    const report = this.#report(method);
    let failure: unknown;
    try {
      return yield* this.#items(method, parts, options, report);
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      answered?.();
      report?.ended(failure);
      options.parent?.done?.();
    }
  }

  async *#items(
    method: string,
    parts: Parts,
    options: SubmitOptions,
    report: TaskReport | undefined,
  ): AsyncGenerator<Parts, Parts | undefined> {
    const { clock } = this.#driver.connection;
    const deadlineAtMs = options.timeoutMs === undefined ? undefined : clock.now() + options.timeoutMs;
    const peer = await unsent(clock, { method, options, deadlineAtMs }, this.#find());
    this.#told(report);
    const stream: ItemStream = peer.stream(calledAs(method, options), parts, this.#stamped(options, deadlineAtMs));
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

  /** Ends it behind the calls that were made before; settles when it took the last of them. */
  async terminate(options: CallOptions = {}): Promise<void> {
    // The calls of this turn leave at its end.
    await undefined;
    await this.call("$terminate", [], options).catch((error: unknown) => {
      if (!(error instanceof ActorDiedError)) throw error;
    });
  }

  #submit(submission: Submission): void {
    if (this.#death) submission.reject(this.#death);
    else if (this.#peer && !this.#peer.closed && this.#waiting.size === 0) this.#send(this.#peer, submission);
    else {
      this.#waiting.push(submission);
      this.#find().catch(() => {});
    }
  }

  #send(peer: Peer, submission: Submission): void {
    const { method, parts, options, deadlineAtMs } = submission;
    const { signal, parent, traceparent } = options;
    // There may be very many of those that their refs can cancel: nothing is allocated for that.
    const byRef = parent instanceof Cancelling ? parent : undefined;
    const plain = !(signal || (parent && !byRef) || traceparent) && deadlineAtMs === undefined;
    const stamped = plain ? this.#plainOptions : this.#stamped(options, deadlineAtMs);
    if (byRef && !plain) stamped.parent = undefined;
    if (Number.isNaN(submission.retries)) applyRules(submission, this.#row);
    this.#begun(peer);
    this.#told(submission.report);
    const sequence = peer.submit(
      calledAs(method, options),
      parts,
      stamped,
      new ActorLink.#Sent(this, peer, submission),
    );
    byRef?.sent(peer, sequence);
  }

  #told(report: TaskReport | undefined): void {
    if (report && this.#row?.address !== undefined) report.running(this.#row.nodeId, this.#row.address);
  }

  #stamped({ signal, parent, traceparent }: CallOptions, deadlineAtMs: number | undefined): CallOptions {
    const leftMs = deadlineAtMs === undefined ? undefined : deadlineAtMs - this.#driver.connection.clock.now();
    const timeoutMs = leftMs === undefined ? undefined : Math.max(1, Math.ceil(leftMs));
    return { signal, parent, traceparent, timeoutMs, epoch: this.#row?.epoch };
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
        if (!this.#peer.closed) this.#link.#failed(this.#submission, error);
        else void this.#link.#afterLoss(this.#submission, asWhiprayError(error));
      });
    }
  };

  #failed(submission: Submission, error: WhiprayError): void {
    if (isRetried(submission, error) && takeRetry(submission)) this.#again(submission, true);
    else submission.reject(error);
  }

  #again(submission: Submission, mayHaveRun: boolean): void {
    submission.report?.waiting(mayHaveRun);
    if (isCancelled(submission.options)) submission.reject(cancelledUnsent(submission));
    else this.#submit(submission);
  }

  #begun(peer: Peer): void {
    this.#running++;
    this.#watchLater(peer);
  }

  // One timer a second at most, however many calls; at once when the connection breaks.
  #watchLater(peer: Peer): void {
    if (this.#watching || this.#running === 0 || peer.closed) return;
    this.#watching = true;
    const begin = (): void => {
      timer.cancel();
      forget();
      void this.#watch(peer).finally(() => {
        this.#watching = false;
        if (this.#peer) this.#watchLater(this.#peer);
      });
    };
    const timer = this.#driver.connection.clock.after(WATCH_AFTER_MS, begin);
    const forget = peer.onLost(begin);
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
      if (error.retryable && error.code === "UNREACHABLE") this.#again(submission, false);
      else if (takeRetry(submission)) this.#again(submission, true);
      else submission.reject(await this.#verdict(error, submission.method));
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
      this.#pending.learn(row.maxPendingCalls ?? -1);
      for (const [at, submission] of this.#waiting.takeAll().entries()) {
        if (at < this.#pending.limit) this.#send(this.#peer, submission);
        else submission.reject(this.#pending.exceeded(submission.method));
      }
    } catch (error) {
      for (const submission of this.#waiting.takeAll()) submission.reject(error);
      throw error;
    }
  }

  async #alive(afterEpoch: number | undefined): Promise<ActorRow> {
    for (;;) {
      const request = { actorId: this.actorId, wait: true, afterEpoch, timeoutMs: RESOLVE_POLL_MS };
      const { actor } = await this.#driver.ask(actorResolve, request);
      if (actor.state === "DEAD") {
        this.#death = diedError(actor);
        throw this.#death;
      }
      if (actor.state === "ALIVE" && (afterEpoch === undefined || actor.epoch > afterEpoch)) return actor;
    }
  }
}

/** The method as its actor hears it: with the concurrency group that this call names. */
function calledAs(method: string, { concurrencyGroup }: SubmitOptions): string {
  return concurrencyGroup === undefined ? method : `${method}@${concurrencyGroup}`;
}
