import { ActorHandleWire, type Endpoint, handleReturned } from "@whipray/rpc";

/** Owner of handles that nobody counts: they find their actor through the head. */
const UNCOUNTED = "head/head";

/** What one process has of one actor. */
interface Scope {
  /** Handles in this process. */
  handles: number;
  /** Handles that it passed on and that were not given back. */
  readonly lent: Set<string>;
  /** What it was lent itself, by lender. Without any it made the actor. */
  readonly borrowed: Map<string, string>;
  /** A handle went to where nobody can say that it is not needed any more. */
  forever: boolean;
}

export interface ActorScopesOptions {
  readonly endpoint: Endpoint;
  /** URL that leads to any other process. */
  readonly viaUrl: string;
  /** The last handle of an actor that this process made is gone. */
  readonly end: (actorId: string) => void;
}

/**
 * Which anonymous actors are still needed (Ray: out of scope). The process that made an actor counts its own handles and those that it
 * passed on in arguments and results of calls; whoever got one counts in the same way and gives it back when it has none left. Handles
 * in objects, in constructors' arguments and in Python are not counted: they hold the actor until its owner's session ends, as does a
 * process that dies with one. So an actor never ends too early, and never by a collector.
 */
export class ActorScopes {
  readonly #options: ActorScopesOptions;
  readonly #scopes = new Map<string, Scope>();
  #loans = 0;
  /** What is encoded now goes where nobody counts. */
  #keeping = false;

  constructor(options: ActorScopesOptions) {
    this.#options = options;
    options.endpoint.serve(handleReturned, ({ actorId, loans }) => {
      for (const loan of loans) this.#scopes.get(actorId)?.lent.delete(loan);
      this.#look(actorId);
      return null;
    });
  }

  /** An anonymous actor that this process made, with its first handle. */
  made(actorId: string): void {
    this.#scopes.set(actorId, { handles: 1, lent: new Set(), borrowed: new Map(), forever: false });
  }

  /** A handle that came in a call. False: nobody counts it. */
  received({ actorId, ownerAddress, loan }: ActorHandleWire): boolean {
    if (loan === undefined) return false;
    const scope = this.#scopes.get(actorId);
    if (ownerAddress === this.#options.endpoint.address) {
      // It came home.
      if (!scope) return false;
      scope.handles++;
      scope.lent.delete(loan);
      return true;
    }
    const mine: Scope = scope ?? { handles: 0, lent: new Set(), borrowed: new Map(), forever: false };
    this.#scopes.set(actorId, mine);
    mine.handles++;
    // One loan of a lender is enough; without any of its own the actor was made here.
    const makerOrHeld = (scope && scope.borrowed.size === 0) || mine.borrowed.has(ownerAddress);
    if (makerOrHeld) this.#giveBack(ownerAddress, actorId, loan);
    else mine.borrowed.set(ownerAddress, loan);
    return true;
  }

  /** A counted handle goes to another process. */
  lend(actorId: string): ActorHandleWire {
    const scope = this.#scopes.get(actorId);
    if (!scope) return new ActorHandleWire(actorId, UNCOUNTED);
    if (this.#keeping) {
      scope.forever = true;
      return new ActorHandleWire(actorId, UNCOUNTED);
    }
    const loan = String(++this.#loans);
    scope.lent.add(loan);
    return new ActorHandleWire(actorId, this.#options.endpoint.address, loan);
  }

  /** Encodes what may be read by anybody, any number of times. */
  keeping<T>(encode: () => T): T {
    this.#keeping = true;
    try {
      return encode();
    } finally {
      this.#keeping = false;
    }
  }

  /** A counted handle was disposed, and its calls are done. */
  released(actorId: string): void {
    const scope = this.#scopes.get(actorId);
    if (!scope) return;
    scope.handles--;
    this.#look(actorId);
  }

  #look(actorId: string): void {
    const scope = this.#scopes.get(actorId);
    if (!scope || scope.handles > 0 || scope.lent.size > 0 || scope.forever) return;
    this.#scopes.delete(actorId);
    for (const [lender, loan] of scope.borrowed) this.#giveBack(lender, actorId, loan);
    if (scope.borrowed.size === 0) this.#options.end(actorId);
  }

  #giveBack(lender: string, actorId: string, loan: string): void {
    const { endpoint, viaUrl } = this.#options;
    const peer = endpoint.connect({ to: lender, url: viaUrl, purpose: "data" });
    // A lender that is gone counts no more; one that does not hear it holds the actor longer.
    peer.invoke(handleReturned, { actorId, loans: [loan] }).catch(() => {});
  }
}
