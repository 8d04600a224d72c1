import { type CallOptions, encodeValues, type Parts, StoredWire, storedOf } from "@whipray/rpc";
import { INLINE_OBJECT_BYTES, isLarge } from "@whipray/worker";
import type { MethodOptions } from "./actor-types.ts";
import { ObjectRef } from "./object-ref.ts";
import type { Submission } from "./submission.ts";

const NO_PARTS: Parts = [];
const NO_LOANS: Loan[] = [];

/** What a node's store does for arguments. */
interface ArgumentStore {
  argument(ref: ObjectRef): Promise<unknown>;
  lend(parts: Parts): Promise<Loan>;
  lendNow(parts: Parts): Loan | undefined;
}

/** Large arguments on their way: `parts` go instead; `done` when the call is over. */
interface Loan {
  readonly parts: Parts;
  readonly done: () => void;
}

/** Where a call goes. */
export interface CallTarget {
  readonly objects: ArgumentStore;
  submit(submission: Submission): void;
  submitWhen(submission: Submission, ready: Promise<void>): void;
}

/**
 * One call of an actor's method, from the moment when it was made. It starts when the caller's own code has run on to its next
 * await, and had the chance to ask for an iterator instead. There may be very many: no promise is made but `result`.
 */
export class MethodCall implements Submission {
  readonly result: Promise<unknown>;
  readonly method: string;
  readonly options: MethodOptions;
  parts: Parts = NO_PARTS;
  retries = Number.NaN;
  /** The caller reads items: this call is not made. */
  streamed = false;
  readonly target: CallTarget;
  readonly args: unknown[];
  #loans: Loan[] = NO_LOANS;
  #resolve!: (value: unknown) => void;
  #reject!: (error: unknown) => void;

  constructor(target: CallTarget, method: string, args: unknown[], options: MethodOptions) {
    this.target = target;
    this.method = method;
    this.args = args;
    this.options = options;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (soon.push(this) === 1) queueMicrotask(startAll);
  }

  /** The result, of the reply's parts. */
  protected take(parts: Parts): unknown {
    return parts;
  }

  start(): void {
    if (this.streamed) return;
    try {
      if (this.args.some(isRef)) this.target.submitWhen(this, this.#encodeRefs());
      else {
        const parts = encodeValues(this.args, "args");
        const large = isLarge(parts);
        const loan = large ? this.target.objects.lendNow(parts) : undefined;
        if (loan) this.#loans = [loan];
        this.parts = loan?.parts ?? copied(parts);
        if (large && !loan) this.target.submitWhen(this, this.#lend());
        else this.target.submit(this);
      }
    } catch (error) {
      this.#reject(error);
    }
  }

  /** Refs among the arguments are values when the call starts (Ray): large ones are taken by the callee from where they lie. */
  async #encodeRefs(): Promise<void> {
    const { objects } = this.target;
    const given = await Promise.all(this.args.map((arg) => (arg instanceof ObjectRef ? objects.argument(arg) : arg)));
    const some = given.some((arg) => arg instanceof StoredWire);
    // What lies in a store stands beside the others, not inside of an object: only an argument itself may be elsewhere.
    if (some) await this.#lendArrays(given);
    this.parts = encodeArguments(given);
    if (!some && isLarge(this.parts)) await this.#lend();
  }

  async #lendArrays(given: unknown[]): Promise<void> {
    const large = given.map((arg) => (isLargeArray(arg) ? this.target.objects.lend(encodeValues(arg)) : undefined));
    for (const [at, lending] of large.entries()) {
      const loan = await lending;
      if (loan) this.#loans = [...this.#loans, loan];
      given[at] = (loan && storedOf(loan.parts)) ?? given[at];
    }
  }

  async #lend(): Promise<void> {
    const loan = await this.target.objects.lend(this.parts);
    this.#loans = [...this.#loans, loan];
    this.parts = loan.parts;
  }

  resolve(parts: Parts): void {
    for (const loan of this.#loans) loan.done();
    try {
      this.#resolve(this.take(parts));
    } catch (error) {
      this.#reject(error);
    }
  }

  reject(error: unknown): void {
    for (const loan of this.#loans) loan.done();
    this.#reject(error);
  }
}

// All calls of one turn, whoever made them: they leave in the order in which they were made.
let soon: MethodCall[] = [];

function startAll(): void {
  const calls = soon;
  soon = [];
  for (const call of calls) call.start();
}

function isLargeArray(arg: unknown): boolean {
  return ArrayBuffer.isView(arg) && arg.byteLength > INLINE_OBJECT_BYTES;
}

function isRef(arg: unknown): boolean {
  return arg instanceof ObjectRef;
}

/** A call with parts as they travel; they must not change before it settles. */
export function callParts(target: CallTarget, method: string, parts: Parts, options: CallOptions): Promise<Parts> {
  return new Promise((resolve, reject) => {
    const call = { method, parts, options, retries: Number.NaN, resolve, reject };
    if (!isLarge(parts)) target.submit(call);
    else {
      const lent = target.objects.lend(parts);
      const done = (): void => void lent.then((loan) => loan.done()).catch(() => {}); // the call says why
      call.resolve = (reply) => {
        done();
        resolve(reply);
      };
      call.reject = (error) => {
        done();
        reject(error);
      };
      const ready = lent.then((loan) => {
        call.parts = loan.parts;
      });
      target.submitWhen(call, ready);
    }
  });
}

/** Refs among the arguments are values when the call starts (Ray); refs inside of values are passed on as refs. */
export function resolveRefs(args: unknown[]): Promise<unknown[]> {
  return Promise.all(args.map((arg) => (arg instanceof ObjectRef ? arg.source.value() : arg)));
}

/** Tensors are copied: the caller may change its arrays as soon as the call was made. */
export function encodeArguments(args: unknown[]): Parts {
  return copied(encodeValues(args, "args"));
}

function copied(parts: Parts): Parts {
  return parts.length === 1 ? parts : parts.map((part, index) => (index === 0 ? part : part.slice()));
}
