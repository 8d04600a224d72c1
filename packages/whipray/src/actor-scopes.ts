import type { Clock } from "@whipray/core";
import {
  ActorHandleWire,
  type Endpoint,
  handleBorrowed,
  handleReturned,
  type Peer,
  ProcessWatch,
  processName,
} from "@whipray/rpc";

/** Owner of handles that nobody counts: they find their actor through the head. */
const UNCOUNTED = "head/head";
/** Loan of a handle in an object or a constructor's arguments: nobody's own, so whoever reads it asks for one. */
const KEPT = "kept";

/** What one process has of one actor. */
interface Scope {
  /** Handles in this process. */
  handles: number;
  /** Handles that it passed on and that were not given back. */
  readonly lent: Set<string>;
  /** What it was lent itself, by lender. Without any it made the actor. */
  readonly borrowed: Map<string, string>;
  /** Objects that this process owns and actors that it made, with a handle inside. */
  readonly keepers: Set<string>;
}

/** What one object, or one actor's constructor, has in it. */
interface Kept {
  readonly actorIds: Set<string>;
  /** Loans that came in it, given back when it ends. */
  readonly loans: ActorHandleWire[];
}

export interface ActorScopesOptions {
  readonly endpoint: Endpoint;
  /** URL that leads to any other process. */
  readonly viaUrl: string;
  /** The last handle of an actor that this process made is gone. */
  readonly end: (actorId: string) => void;
  readonly clock: Clock;
  readonly headIsAway: () => boolean;
}

/**
 * Which anonymous actors are still needed (Ray: out of scope). The process that made an actor counts its own handles and those that it
 * passed on in arguments and results of calls; whoever got one counts in the same way and gives it back when it has none left. A handle in
 * an object counts at the object's owner until the object ends, one in a constructor's arguments at its caller until that actor is dead; who
 * reads it there borrows one of his own. Handles in Python are not counted: they hold the actor until its owner's session ends, as does a
 * process that dies with one that came in a call. So an actor never ends too early, and never by a collector.
 */
export class ActorScopes {
  readonly #options: ActorScopesOptions;
  readonly #scopes = new Map<string, Scope>();
  readonly #kept = new Map<string, Kept>();
  /** Answers to borrowing that are not here yet. */
  readonly #borrowing = new Set<Promise<void>>();
  /** Who borrowed what by himself, loan → actor: his end gives it back. */
  readonly #borrowers = new Map<string, Map<string, string>>();
  readonly #watch: ProcessWatch;
  #loans = 0;
  /** What is encoded now goes into this. */
  #keeper: string | undefined;

  constructor(options: ActorScopesOptions) {
    this.#options = options;
    const { endpoint, viaUrl } = options;
    this.#watch = new ProcessWatch({ ...options, urlOf: () => viaUrl });
    endpoint.serve(handleReturned, ({ actorId, loans }, { peer }) => {
      for (const loan of loans) {
        this.#borrowers.get(processName(peer))?.delete(loan);
        this.#returned(actorId, loan);
      }
      this.#unfollow(processName(peer));
      return null;
    });
    endpoint.serve(handleBorrowed, ({ actorId, loan }, { peer }) => ({ found: this.#borrowed(actorId, loan, peer) }));
  }

  /** An anonymous actor that this process made, with its first handle. */
  made(actorId: string): void {
    this.#scopes.set(actorId, { ...emptyScope(), handles: 1 });
  }

  /** A handle that came in a call. False: nobody counts it. */
  received(wire: ActorHandleWire): boolean {
    const { actorId, ownerAddress, loan } = wire;
    if (loan === undefined || loan === KEPT) return this.read(wire);
    const scope = this.#scopes.get(actorId);
    if (ownerAddress === this.#options.endpoint.address) {
      // It came home.
      if (!scope) return false;
      scope.handles++;
      scope.lent.delete(loan);
      return true;
    }
    const mine = this.#scope(actorId);
    mine.handles++;
    // One loan of a lender is enough; without any of its own the actor was made here.
    if (isMaker(scope) || mine.borrowed.has(ownerAddress)) this.#giveBack(wire);
    else mine.borrowed.set(ownerAddress, loan);
    return true;
  }

  /** A handle in an object, which others read too: whatever loan is written there is not this reader's. False: nobody counts it. */
  read({ actorId, ownerAddress, loan }: ActorHandleWire): boolean {
    if (loan === undefined) return false;
    const scope = this.#scopes.get(actorId);
    if (ownerAddress === this.#options.endpoint.address && !scope) return false;
    const mine = this.#scope(actorId);
    mine.handles++;
    if (ownerAddress === this.#options.endpoint.address || isMaker(scope) || mine.borrowed.has(ownerAddress))
      return true;
    const own = `${this.#options.endpoint.incarnation} ${++this.#loans}`;
    mine.borrowed.set(ownerAddress, own);
    const asked = this.#peer(ownerAddress)
      .invoke(handleBorrowed, { actorId, loan: own })
      .then(
        () => {},
        () => {}, // whoever kept it is gone, and the actor with him or soon
      );
    this.#borrowing.add(asked);
    void asked.then(() => this.#borrowing.delete(asked));
    return true;
  }

  /** Settles when those of whom this process borrowed know it; undefined: they do. */
  get settled(): Promise<unknown> | undefined {
    return this.#borrowing.size === 0 ? undefined : Promise.all(this.#borrowing);
  }

  /** A counted handle goes to another process. */
  lend(actorId: string): ActorHandleWire {
    const scope = this.#scopes.get(actorId);
    if (!scope) return new ActorHandleWire(actorId, UNCOUNTED);
    const { address } = this.#options.endpoint;
    if (this.#keeper !== undefined) {
      scope.keepers.add(this.#keeper);
      this.#keptBy(this.#keeper).actorIds.add(actorId);
      return new ActorHandleWire(actorId, address, KEPT);
    }
    const loan = String(++this.#loans);
    scope.lent.add(loan);
    return new ActorHandleWire(actorId, address, loan);
  }

  /** Encodes what goes into `keeper` (an object, an actor's constructor): handles in it hold their actors until `forget`. */
  keeping<T>(keeper: string, encode: () => T): T {
    this.#keeper = keeper;
    try {
      return encode();
    } finally {
      this.#keeper = undefined;
    }
  }

  /** A handle in a result that became an object of this process: its loan is the object's. */
  keep(keeper: string, wire: ActorHandleWire): void {
    const { actorId, loan } = wire;
    if (loan === undefined || loan === KEPT) return;
    const kept = this.#keptBy(keeper);
    kept.loans.push(wire);
    kept.actorIds.add(actorId);
    const scope = this.#scopes.get(actorId);
    if (scope) scope.keepers.add(keeper);
  }

  /** Whether there is something in it. */
  keeps(keeper: string): boolean {
    return this.#kept.has(keeper);
  }

  /** It is gone, and what was in it. */
  forget(keeper: string): void {
    const kept = this.#kept.get(keeper);
    if (!kept) return;
    this.#kept.delete(keeper);
    for (const wire of kept.loans) this.#giveBack(wire);
    for (const actorId of kept.actorIds) {
      this.#scopes.get(actorId)?.keepers.delete(keeper);
      this.#look(actorId);
    }
  }

  /** A counted handle was disposed, and its calls are done. */
  released(actorId: string): void {
    const scope = this.#scopes.get(actorId);
    if (!scope) return;
    scope.handles--;
    this.#look(actorId);
  }

  #borrowed(actorId: string, loan: string, peer: Peer): boolean {
    const scope = this.#scopes.get(actorId);
    if (!scope) return false;
    scope.lent.add(loan);
    const borrower = processName(peer);
    const loans = this.#borrowers.get(borrower) ?? new Map();
    this.#borrowers.set(borrower, loans.set(loan, actorId));
    if (loans.size === 1) this.#watch.follow(borrower, () => this.#gone(borrower));
    return true;
  }

  #gone(borrower: string): void {
    for (const [loan, actorId] of this.#borrowers.get(borrower) ?? []) this.#returned(actorId, loan);
    this.#borrowers.delete(borrower);
  }

  #unfollow(borrower: string): void {
    if (this.#borrowers.get(borrower)?.size !== 0) return;
    this.#borrowers.delete(borrower);
    this.#watch.forget(borrower);
  }

  #returned(actorId: string, loan: string): void {
    if (this.#scopes.get(actorId)?.lent.delete(loan)) this.#look(actorId);
  }

  #look(actorId: string): void {
    const scope = this.#scopes.get(actorId);
    if (!scope || scope.handles > 0 || scope.lent.size > 0 || scope.keepers.size > 0) return;
    this.#scopes.delete(actorId);
    for (const [ownerAddress, loan] of scope.borrowed) this.#giveBack({ actorId, ownerAddress, loan });
    if (scope.borrowed.size === 0) this.#options.end(actorId);
  }

  #giveBack({ actorId, ownerAddress, loan }: ActorHandleWire): void {
    if (ownerAddress === this.#options.endpoint.address) this.#returned(actorId, loan!);
    // A lender that is gone counts no more; one that does not hear it holds the actor longer.
    else
      this.#peer(ownerAddress)
        .invoke(handleReturned, { actorId, loans: [loan!] })
        .catch(() => {});
  }

  #peer(address: string): Peer {
    const { endpoint, viaUrl } = this.#options;
    return endpoint.connect({ to: address, url: viaUrl, purpose: "data" });
  }

  #scope(actorId: string): Scope {
    const scope = this.#scopes.get(actorId) ?? emptyScope();
    this.#scopes.set(actorId, scope);
    return scope;
  }

  #keptBy(keeper: string): Kept {
    const kept = this.#kept.get(keeper) ?? { actorIds: new Set(), loans: [] };
    this.#kept.set(keeper, kept);
    return kept;
  }
}

function emptyScope(): Scope {
  return { handles: 0, lent: new Set(), borrowed: new Map(), keepers: new Set() };
}

function isMaker(scope: Scope | undefined): boolean {
  return scope !== undefined && scope.borrowed.size === 0;
}
