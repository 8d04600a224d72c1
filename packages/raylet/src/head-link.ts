import {
  asWhiprayError,
  backoffMs,
  type Clock,
  delay,
  type Logger,
  type RandomSource,
  WhiprayError,
} from "@whipray/core";
import {
  actorEnded,
  type DeathCause,
  type Endpoint,
  type NodeRegister,
  type NodeRegistered,
  type NodeView,
  nodeLeave,
  nodeRegister,
  nodeViewChanged,
  type Peer,
} from "@whipray/rpc";

/** Ended actors of which the head has not heard yet; the oldest are dropped (it sees in our registration that they are gone). */
export const UNTOLD_ENDS_LIMIT = 10_000;
/** Jittered, so that many raylets do not come back to a restarted head at once (reliability F50). */
const REGISTER_BACKOFF = { firstMs: 100, maxMs: 3_000, jitter: 0.5 };
/** After this, what the head did not take is told again. */
const RETELL_MS = 1_000;
/** A raylet that leaves waits no longer than this for the head's answer. */
const LEAVE_LIMIT_MS = 2_000;

export interface EndedActor {
  readonly actorId: string;
  readonly epoch: number;
  readonly cause: DeathCause;
}

export interface HeadLinkOptions {
  readonly endpoint: Endpoint;
  readonly headUrl: string;
  readonly nodeId: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
  /** What we run and have, now. */
  readonly describe: () => Omit<NodeRegister, "epoch">;
  readonly view: () => NodeView;
  /** Something of the ledger may have changed; called each time. */
  readonly onChanged?: (() => void) | undefined;
  /** After every registration, before anything else is told to the head. */
  readonly onRegistered: (registered: NodeRegistered) => Promise<void> | void;
  /** A registration failed, for whatever reason; it is tried again. */
  readonly onRefused?: ((error: WhiprayError) => void) | undefined;
}

/**
 * This node's conversation with the head, on its control link: registers, again after every break or restart of the head, and
 * tells what changed. Views are coalesced to one a turn, and one under way; ends of actors are told until the head has them.
 */
export class HeadLink {
  readonly #options: HeadLinkOptions;
  readonly #untold: EndedActor[] = [];
  /** What came behind a grant that is too early, that one first. */
  readonly #waiting: (() => void)[] = [];
  /** Epoch of the last registration; 0 before the first. Grants of older epochs are refused. */
  epoch = 0;
  /** Nothing new is taken any more. */
  leaving = false;
  #peer: Peer | undefined;
  #registering: Promise<void> | undefined;
  #again = false;
  #registered = false;
  #toldVersion = 0;
  #viewQueued = false;
  #telling = false;
  #closed = false;

  constructor(options: HeadLinkOptions) {
    this.#options = options;
  }

  get peer(): Peer | undefined {
    return this.#peer;
  }

  /** Whether the head knows what we run. */
  get registered(): boolean {
    return this.#registered;
  }

  /**
   * Registers for the first time. Keeps trying while the head is away.
   * @throws WhiprayError as the head refused: another cluster's token, a protocol that does not fit.
   */
  start(): Promise<void> {
    return this.#register(true);
  }

  /** The head may not know us any more (a refused beat, a reset session): registers again. */
  registerAgain(): void {
    if (this.#closed) return;
    this.#registered = false;
    if (this.#registering) this.#again = true;
    else void this.#register(false);
  }

  #register(first: boolean): Promise<void> {
    this.#registering ??= this.#registerLoop(first).finally(() => {
      this.#registering = undefined;
      if (this.#again) {
        this.#again = false;
        this.registerAgain();
      }
    });
    return this.#registering;
  }

  async #registerLoop(first: boolean): Promise<void> {
    const { clock, random, logger } = this.#options;
    for (let attempt = 1; !this.#closed; attempt++) {
      try {
        const peer = this.#connect();
        const registered = await peer.invoke(nodeRegister, { ...this.#options.describe(), epoch: this.epoch });
        this.epoch = registered.epoch;
        await this.#options.onRegistered(registered);
        this.#registered = true;
        this.#toldVersion = 0;
        this.viewChanged();
        void this.#tellEnds();
        return;
      } catch (thrown) {
        const error = asWhiprayError(thrown);
        logger.warn("not registered", { code: error.code, error: error.message, attempt });
        if (first && this.epoch === 0 && isFinal(error)) throw error;
        this.#options.onRefused?.(error);
        await delay(clock, backoffMs(REGISTER_BACKOFF, attempt, random));
      }
    }
    if (first)
      throw new WhiprayError({
        code: "NODE_LEAVING",
        message: `${this.#options.nodeId} left before it was registered`,
      });
  }

  #connect(): Peer {
    if (this.#peer && !this.#peer.closed) return this.#peer;
    const { endpoint, headUrl } = this.#options;
    const peer = endpoint.connect({ to: "head/head", url: headUrl, purpose: "control", restarts: true });
    if (peer !== this.#peer) {
      this.#peer = peer;
      peer.onReset(() => this.registerAgain());
      peer.onClose(() => this.registerAgain());
    }
    return peer;
  }

  /** The ledger changed: the head is told once this turn is over, and again when it changed meanwhile. */
  viewChanged(): void {
    this.#options.onChanged?.();
    if (this.#viewQueued) return;
    this.#viewQueued = true;
    this.#options.clock.after(0, () => void this.#tellView(), { keepAlive: true });
  }

  async #tellView(): Promise<void> {
    const { nodeId } = this.#options;
    try {
      while (this.#registered && this.#peer && !this.#closed) {
        const view = this.#options.view();
        if (view.version === this.#toldVersion) return;
        await this.#peer.invoke(nodeViewChanged, { nodeId, epoch: this.epoch, view });
        this.#toldVersion = view.version;
      }
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#viewQueued = false;
    }
  }

  /** An actor of ours ended. */
  ended(actor: EndedActor): void {
    if (this.#untold.length >= UNTOLD_ENDS_LIMIT) this.#untold.shift();
    this.#untold.push(actor);
    void this.#tellEnds();
  }

  /** Why an actor of ours ended, while the head may not know it. */
  untold(actorId: string, epoch: number): DeathCause | undefined {
    return this.#untold.find((one) => one.actorId === actorId && one.epoch === epoch)?.cause;
  }

  async #tellEnds(): Promise<void> {
    if (this.#telling) return;
    this.#telling = true;
    const { nodeId } = this.#options;
    try {
      for (let next = this.#untold[0]; next && this.#registered && this.#peer; next = this.#untold[0]) {
        const view = this.#options.view();
        await this.#peer.invoke(actorEnded, { nodeId, nodeEpoch: this.epoch, ...next, view });
        if (this.#untold[0] === next) this.#untold.shift();
      }
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#telling = false;
    }
  }

  /** Calls that end because the link did are made again after the next registration. */
  #failed(error: unknown): void {
    const { code, message } = asWhiprayError(error);
    this.#options.logger.debug("the head was not told", { code, error: message });
    if (code === "STALE_EPOCH" || this.#peer?.closed) {
      this.registerAgain();
      return;
    }
    this.#options.clock.after(RETELL_MS, () => {
      this.viewChanged();
      void this.#tellEnds();
    });
  }

  /** Says goodbye. */
  async leave(reason: string): Promise<void> {
    if (this.#registered && this.#peer && !this.#peer.closed) {
      const request = { nodeId: this.#options.nodeId, epoch: this.epoch, reason };
      await this.#peer.invoke(nodeLeave, request, { timeoutMs: LEAVE_LIMIT_MS }).catch((error: unknown) => {
        this.#options.logger.debug("the head did not hear our goodbye", { error: String(error) });
      });
    }
    this.#closed = true;
    this.#peer?.close();
  }

  /**
   * Carries out what the head asks for, in the order in which it asked: at once, before anything that came later. A grant names the
   * registration that it was made for (`nodeEpoch`; what takes away names none). One that overtook the reply to our registration waits
   * for it, and all that came after it waits too: a release must find what was prepared before it.
   * @throws WhiprayError `STALE_EPOCH` for a grant of another registration; `NODE_LEAVING` (retryable).
   */
  inTurn<T>(nodeEpoch: number | undefined, act: () => Promise<T>): Promise<T> {
    const early = nodeEpoch !== undefined && nodeEpoch > this.epoch && !this.leaving;
    if (this.#waiting.length === 0 && !(early && this.#registering)) return this.#carryOut(nodeEpoch, act);
    const { promise, resolve } = Promise.withResolvers<T>();
    this.#waiting.push(() => resolve(this.#carryOut(nodeEpoch, act)));
    if (this.#waiting.length === 1) {
      const admit = (): void => {
        for (const next of this.#waiting.splice(0)) next();
      };
      this.#registering!.then(admit, admit);
    }
    return promise;
  }

  async #carryOut<T>(nodeEpoch: number | undefined, act: () => Promise<T>): Promise<T> {
    if (nodeEpoch !== undefined) this.#checkEpoch(nodeEpoch);
    return await act();
  }

  #checkEpoch(nodeEpoch: number): void {
    if (this.leaving) {
      const message = `${this.#options.nodeId} is leaving`;
      throw new WhiprayError({ code: "NODE_LEAVING", message, retryable: true });
    }
    if (nodeEpoch === this.epoch) return;
    throw new WhiprayError({
      code: "STALE_EPOCH",
      message: `${this.#options.nodeId} is at epoch ${this.epoch}; a grant of epoch ${nodeEpoch} was refused`,
      details: { nodeId: this.#options.nodeId, epoch: nodeEpoch, current: this.epoch },
    });
  }
}

function isFinal(error: WhiprayError): boolean {
  const linkLost = ["UNREACHABLE", "OUTCOME_UNKNOWN", "TIMEOUT", "GOODBYE", "DEADLINE_EXCEEDED"].includes(error.code);
  return !error.retryable && !linkLost;
}
